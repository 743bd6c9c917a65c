package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kdcRealm is the realm of the tests' own Kerberos.
const kdcRealm = "FORST.TEST"

// kdc is a key distribution centre on a free loopback port, with a database of its own: MIT Kerberos from the packages of the system. It is run by
// the user of the test, and nothing of the machine's own configuration is read.
type kdc struct {
	server
	dir string
}

func kdcProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

func kerberosAvailable() (why string, ok bool) {
	if !Required("kerberos") && os.Getenv("FORST_NIGHTLY") == "" {
		return "Kerberos is tried with FORST_NIGHTLY=1, or with FORST_REQUIRE=kerberos", false
	}
	for _, name := range []string{"krb5kdc", "kdb5_util", "kadmin.local", "kinit"} {
		if _, err := kdcProgram(name); err != nil {
			return "this machine has no " + name + " (Debian: krb5-kdc, krb5-admin-server, krb5-user)", false
		}
	}
	return "", true
}

// KerberosCluster is a secured cluster with a Kerberos of its own.
type KerberosCluster struct {
	*HDFSCluster
	kdc *kdc
}

// StartKerberosHDFS starts a cluster that takes nobody without Kerberos, for this test alone. See Need("kerberos") for when it skips. settings are for
// hdfs-site.xml, but for those that begin with "hadoop.", in pairs.
func StartKerberosHDFS(t testing.TB, settings ...string) *KerberosCluster {
	t.Helper()
	Need(t, "kerberos")
	if os.Getenv(EnvHDFSImage) != "" {
		t.Fatal("a secured cluster runs as processes only")
	}
	var k *kdc
	var err error
	for range 5 {
		if k, err = startKDC(t.Context()); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.end(); err != nil {
			t.Errorf("ending Kerberos: %v", err)
		}
	})
	core, hdfs := map[string]string{}, map[string]string{}
	for name, value := range pairs(settings) {
		if strings.HasPrefix(name, "hadoop.") {
			core[name] = value
		} else {
			hdfs[name] = value
		}
	}
	return &KerberosCluster{startOwn(t, hdfsPlan{kdc: k, core: core, settings: hdfs}), k}
}

// Config is the path for KRB5_CONFIG.
func (k *KerberosCluster) Config() string { return filepath.Join(k.kdc.dir, "krb5.conf") }

// Principal is a user that the Keytab has the key of.
func (k *KerberosCluster) Principal() string { return "forst@" + kdcRealm }

// Keytab is the path of the user's key.
func (k *KerberosCluster) Keytab() string { return filepath.Join(k.kdc.dir, "forst.keytab") }

// Tickets logs the user in, as kinit does, and gives the path of the ticket cache.
func (k *KerberosCluster) Tickets(t testing.TB) string {
	t.Helper()
	cache := filepath.Join(t.TempDir(), "tickets")
	if err := k.kdc.run(t.Context(), "kinit", "-k", "-t", k.Keytab(), "-c", "FILE:"+cache, k.Principal()); err != nil {
		t.Fatal(err)
	}
	return cache
}

// Protect restarts the DataNodes with another dfs.data.transfer.protection and changes the configuration for clients.
func (k *KerberosCluster) Protect(t testing.TB, protection string) {
	t.Helper()
	for _, j := range k.c.all() {
		file := filepath.Join(j.dir, "hdfs-site.xml")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		const name = "<property><name>dfs.data.transfer.protection</name><value>"
		before, rest, ok := strings.Cut(string(b), name)
		_, after, ok2 := strings.Cut(rest, "</value>")
		if !ok || !ok2 {
			t.Fatalf("%s has no dfs.data.transfer.protection", file)
		}
		if err := os.WriteFile(file, []byte(before+name+protection+"</value>"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range k.DataNodes() {
		k.KillDataNode(t, i)
	}
	for i := range k.DataNodes() {
		k.StartDataNode(t, i)
	}
	for i := range k.DataNodes() {
		k.WaitDataNode(t, i)
	}
}

// startKDC makes a realm with a service, hdfs/localhost, and a user, forst, and serves it.
func startKDC(ctx context.Context) (_ *kdc, err error) {
	dir, err := os.MkdirTemp(tempBase, "forst-kdc-")
	if err != nil {
		return nil, err
	}
	k := &kdc{dir: dir}
	defer func() {
		if err != nil {
			if k.server != nil {
				err = errors.Join(err, k.end())
			} else {
				err = errors.Join(err, os.RemoveAll(dir))
			}
		}
	}()
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"krb5.conf": fmt.Sprintf(`[libdefaults]
 default_realm = %[1]s
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
 default_tkt_enctypes = aes256-cts-hmac-sha1-96
 default_tgs_enctypes = aes256-cts-hmac-sha1-96
 permitted_enctypes = aes256-cts-hmac-sha1-96
[realms]
 %[1]s = {
  kdc = %[2]s
 }
[domain_realm]
 localhost = %[1]s
`, kdcRealm, addr),
		"kdc.conf": fmt.Sprintf(`[kdcdefaults]
 kdc_listen = ""
 kdc_tcp_listen = %[2]s
[realms]
 %[1]s = {
  database_name = %[3]s/principal
  key_stash_file = %[3]s/stash
  acl_file = %[3]s/acl
  supported_enctypes = aes256-cts-hmac-sha1-96:normal
  max_life = 1d
 }
[logging]
 kdc = STDERR
`, kdcRealm, addr, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, words := range [][]string{
		{"kdb5_util", "-r", kdcRealm, "create", "-s", "-P", randomText(16)},
		{"kadmin.local", "-r", kdcRealm, "-q", "addprinc -randkey hdfs/localhost"},
		{"kadmin.local", "-r", kdcRealm, "-q", "addprinc -randkey HTTP/localhost"},
		{"kadmin.local", "-r", kdcRealm, "-q", "addprinc -randkey forst"},
		{"kadmin.local", "-r", kdcRealm, "-q", "ktadd -k " + dir + "/hdfs.keytab hdfs/localhost HTTP/localhost"},
		{"kadmin.local", "-r", kdcRealm, "-q", "ktadd -k " + dir + "/forst.keytab forst"},
	} {
		if err := k.run(ctx, words[0], words[1:]...); err != nil {
			return nil, err
		}
	}
	program, err := kdcProgram("krb5kdc")
	if err != nil {
		return nil, err
	}
	if k.server, err = newGuard(dir, k.env(), program, "-n", "-r", kdcRealm); err != nil {
		return nil, err
	}
	if _, err := k.tell("run"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return k, conn.Close()
		}
		if strings.Contains(k.log(), "in use") {
			return nil, errPortTaken
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("the KDC does not serve: %w\n%s", err, k.log())
		}
	}
}

func (k *kdc) env() []string {
	return []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + k.dir, "KRB5_CONFIG=" + k.dir + "/krb5.conf", "KRB5_KDC_PROFILE=" + k.dir + "/kdc.conf"}
}

// run runs one of Kerberos' programs.
func (k *kdc) run(ctx context.Context, name string, args ...string) error {
	program, err := kdcProgram(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = k.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, lastLines(out))
	}
	return nil
}

// configure makes a cluster demand Kerberos, and gives the flags that its JVMs need for that.
func (k *kdc) configure(core, hdfs map[string]string) (flags []string) {
	service, keytab := "hdfs/localhost@"+kdcRealm, k.dir+"/hdfs.keytab"
	core["hadoop.security.authentication"] = "kerberos"
	core["hadoop.rpc.protection"] = "authentication"
	for name, value := range map[string]string{
		"dfs.block.access.token.enable":   "true",
		"dfs.namenode.kerberos.principal": service, "dfs.namenode.keytab.file": keytab,
		"dfs.datanode.kerberos.principal": service, "dfs.datanode.keytab.file": keytab,
		"dfs.web.authentication.kerberos.principal": "HTTP/localhost@" + kdcRealm, "dfs.web.authentication.kerberos.keytab": keytab,
		"dfs.namenode.kerberos.internal.spnego.principal": "HTTP/localhost@" + kdcRealm,
		"dfs.data.transfer.protection":                    "authentication",
		// DataNodes on ports that anybody may open: SASL, not the number of the port, says who they are.
		"ignore.secure.ports.for.testing": "true",
	} {
		hdfs[name] = value
	}
	return []string{"-Djava.security.krb5.conf=" + k.dir + "/krb5.conf"}
}
