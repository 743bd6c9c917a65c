package hdfs_test

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
)

const haConf = `<configuration>
<property><name>fs.defaultFS</name><value>hdfs://prod</value></property>
<property><name>dfs.nameservices</name><value>prod,other</value></property>
<property><name>dfs.ha.namenodes.prod</name><value>a, b</value></property>
<property><name>dfs.namenode.rpc-address.prod.a</name><value>nn1:8020</value></property>
<property><name>dfs.namenode.rpc-address.prod.b</name><value>nn2:9000</value></property>
<property><name>dfs.ha.namenodes.other</name><value>x</value></property>
<property><name>dfs.namenode.rpc-address.other.x</name><value>nn9:8020</value></property>
<property><name>dfs.ha.namenodes.broken</name><value>x</value></property>
<property><name>dfs.namenode.rpc-address.single</name><value>nn5:8020</value></property>
<property><name>dfs.client.use.datanode.hostname</name><value>true</value></property>
</configuration>`

// TestURL: which addresses an URL means, and what is said about a wrong one.
func TestURL(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hdfs-site.xml"), []byte(haConf), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HADOOP_USER_NAME", "alice")
	for _, c := range []struct {
		url, conf string
		want      string // addresses and root
		err       string
	}{
		{"hdfs://nn:8020/db", "", "nn:8020 /db", ""},
		{"hdfs://nn/db", "", "nn:8020 /db", ""},
		{"hdfs://[::1]:9000/a/b/", "", "[::1]:9000 /a/b", ""},
		{"hdfs://prod/db", dir, "nn1:8020,nn2:9000 /db", ""},
		{"hdfs:///db", dir, "nn1:8020,nn2:9000 /db", ""},
		{"hdfs://other/db", dir, "nn9:8020 /db", ""},
		{"hdfs://single/db", dir, "nn5:8020 /db", ""},
		{"hdfs://elsewhere:1/db", dir, "elsewhere:1 /db", ""},
		{"hdfs://broken/db", dir, "", "dfs.namenode.rpc-address.broken.x"},
		{"hdfs:///db", "", "", "fs.defaultFS"},
		{"hdfs://nn:8020", "", "", "a directory of its own"},
		{"hdfs://nn:8020/", "", "", "a directory of its own"},
		{"hdfs://a:1,b:2/db", "", "", "nameservice"},
		{"hdfs://bob:secret@nn/db", "", "", "HADOOP_USER_NAME"},
		{"hdfs://nn/db#x", "", "", "want hdfs://"},
		{"hdfs://nn/db?colour=red", "", "", "known are: attempt_timeout"},
		{"hdfs://nn/db?sync=maybe", "", "", "replicated or hsync"},
		{"hdfs://nn/db?sync=hsync&sync=hsync", "", "", "2 times"},
		{"hdfs://nn/db?replication=many", "", "", `"many" is not a int`},
		{"hdfs://nn/db?replication=-1", "", "", "1 to 512"},
		{"hdfs://nn/db?replication=1&min_replicas=2", "", "", "up to the replication"},
		{"hdfs://nn/db?min_block_size=1000", "", "", "multiple of 512"},
		{"hdfs://nn/db?protection=strong", "", "", "authentication, integrity or privacy"},
		{"hdfs://nn/db?retry_timeout=-1s", "", "", "must be positive"},
		{"hdfs://nn/a/.snapshot/b", "", "", "no name for a directory"},
		{"hdfs://nn/db?keytab=/none", "", "", "kerberos"},
	} {
		t.Run(c.url, func(t *testing.T) {
			t.Setenv("HADOOP_CONF_DIR", c.conf)
			t.Setenv("HADOOP_HOME", "")
			t.Setenv("KRB5_CONFIG", "/dev/null")
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			s, err := hdfs.OpenURL(t.Context(), u)
			if c.err != "" {
				if err == nil {
					s.Close()
					t.Fatal("it opens")
				}
				if !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%v, want %q in it", err, c.err)
				}
				if !errors.Is(err, fs.ErrInvalid) && driver.KindOf(err) != driver.KindPermission {
					t.Errorf("kind %v", driver.KindOf(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			cfg, err := hdfs.ParseURL(u)
			if err != nil {
				t.Fatal(err)
			}
			d := cfg.EnsureDefaults()
			if got := strings.Join(d.Addresses, ",") + " " + d.Root; got != c.want || d.User != "alice" {
				t.Errorf("%s as %s, want %s", got, d.User, c.want)
			}
			if d.UseDatanodeHostname != (c.conf != "") {
				t.Errorf("by host name: %t", d.UseDatanodeHostname)
			}
			if !slices.Contains(d.Addresses, "nn:8020") && c.conf == "" && strings.HasPrefix(c.url, "hdfs://nn") {
				t.Errorf("%q", d.Addresses)
			}
		})
	}
}
