//go:build !forstmutants

package hdfs_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

// secret is what somebody at the wire looks for: it is longer than a packet's frame can break.
var secret = bytes.Repeat([]byte("what nobody else may read, "), 8)

// listener notes whether the secret went over a connection in the clear.
type listener struct{ heard atomic.Bool }

func (l *listener) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &tappedConn{Conn: c, l: l}, err
}

type tappedConn struct {
	net.Conn
	l *listener
}

func (c *tappedConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, secret[:200]) {
		c.l.heard.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.Contains(p[:n], secret[:200]) {
		c.l.heard.Store(true)
	}
	return n, err
}

// roundtrip writes objects and reads them back, and reports whether the secret was heard on the way.
func roundtrip(t *testing.T, c *hdfs.Config) (heard bool) {
	t.Helper()
	var l listener
	c.Dial = l.dial
	s := open(t, c)
	big := bytes.Repeat(secret, 3<<20/len(secret)) // many packets
	for key, want := range map[string][]byte{"small": secret, "big": big} {
		if err := s.Put(t.Context(), key, want, driver.PutOptions{IfAbsent: true}); err != nil {
			t.Fatalf("Put: %v", err)
		}
		if got, err := driver.ReadAll(t.Context(), s, key); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s comes back as %d bytes of %d, %v", key, len(got), len(want), err)
		}
	}
	part := make([]byte, 4096)
	if err := driver.ReadFull(t.Context(), s, "big", 1_000_000, part); err != nil || !bytes.Equal(part, big[1_000_000:][:len(part)]) {
		t.Errorf("a range: %v", err)
	}
	return l.heard.Load()
}

// TestEncryptedTransfer: DataNodes that encrypt (dfs.encrypt.data.transfer), without Kerberos and without a word of it in the client's configuration. At night:
// it has a cluster of its own.
func TestEncryptedTransfer(t *testing.T) {
	if os.Getenv("FORST_NIGHTLY") == "" {
		return
	}
	cluster := testenv.StartHDFS(t, "dfs.encrypt.data.transfer", "true", "dfs.block.access.token.enable", "true")
	if roundtrip(t, config(t, cluster.URL(t))) {
		t.Error("the bytes went over the wire in the clear")
	}
}

// TestKerberosRPC: a NameNode that demands protection of its calls, too (hadoop.rpc.protection). Not a byte of data is heard; names are, in requests: docs/hdfs.md.
func TestKerberosRPC(t *testing.T) {
	cluster := testenv.StartKerberosHDFS(t, "hadoop.rpc.protection", "privacy", "dfs.data.transfer.protection", "privacy")
	t.Setenv("HADOOP_CONF_DIR", cluster.ConfDir(t))
	t.Setenv("KRB5_CONFIG", cluster.Config())
	if roundtrip(t, config(t, cluster.URL(t), "keytab", cluster.Keytab(), "principal", cluster.Principal())) {
		t.Error("the bytes went over the wire in the clear")
	}
}

// TestKerberos: a NameNode and DataNodes that demand Kerberos, with each protection of data on the wire, by keytab and by ticket cache. See
// testenv.StartKerberosHDFS for when it runs.
func TestKerberos(t *testing.T) {
	cluster := testenv.StartKerberosHDFS(t)
	t.Setenv("HADOOP_CONF_DIR", cluster.ConfDir(t))
	t.Setenv("KRB5_CONFIG", cluster.Config())
	byKeytab := []string{"keytab", cluster.Keytab(), "principal", cluster.Principal()}

	t.Run("nobody-without-tickets", func(t *testing.T) {
		t.Setenv("KRB5CCNAME", "FILE:"+t.TempDir()+"/none")
		if s, err := hdfs.OpenURL(t.Context(), parsed(t, cluster.URL(t))); driver.KindOf(err) != driver.KindPermission {
			if err == nil {
				s.Close()
			}
			t.Errorf("without a ticket cache: %v, want a refusal", err)
		}
		c := config(t, cluster.URL(t), byKeytab...)
		c.Kerberos = nil // as a client that does not know of Kerberos
		if err := open(t, c).Put(t.Context(), "key", secret, driver.PutOptions{}); driver.KindOf(err) != driver.KindPermission {
			t.Errorf("Put without Kerberos: %v, want a refusal", err)
		}
	})

	for _, protection := range []string{"authentication", "integrity", "privacy"} {
		t.Run(protection, func(t *testing.T) {
			if protection != "authentication" {
				cluster.Protect(t, protection)
			}
			if heard := roundtrip(t, config(t, cluster.URL(t), byKeytab...)); heard != (protection != "privacy") {
				t.Errorf("the bytes went over the wire in the clear: %t", heard)
			}
			t.Setenv("KRB5CCNAME", "FILE:"+cluster.Tickets(t))
			roundtrip(t, config(t, cluster.URL(t)))
			if protection == "authentication" {
				c := config(t, cluster.URL(t), append(byKeytab, "protection", "privacy", "retry_timeout", "1s")...)
				if err := open(t, c).Put(t.Context(), "key", secret, driver.PutOptions{}); err == nil {
					t.Error("a client that demands privacy wrote to DataNodes that do not have it")
				}
			}
		})
	}
	t.Run("store", func(t *testing.T) { // privacy is on
		conformance.RunStore(t, conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
			u := parsed(t, cluster.URL(t), append(byKeytab, "attempt_timeout", "1m", "retry_timeout", "2m")...)
			return func(ctx context.Context) (driver.Store, error) { return hdfs.OpenURL(ctx, u) }
		}})
	})
}
