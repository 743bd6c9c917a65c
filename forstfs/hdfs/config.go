package hdfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"time"

	krb "github.com/jcmturner/gokrb5/v8/client"

	"github.com/forst-go/forst/forstfs/driver"
)

// What a Put waits for before it returns.
const (
	// SyncReplicated: every DataNode of the block's pipeline has received, checked and finished the block. The bytes are in the
	// DataNodes' page caches; they survive the death of all processes and of all machines but one, not a power failure of all of them.
	SyncReplicated = "replicated"
	// SyncDisk: in addition every DataNode has synced the block, its checksums and the directory entry to its disk (hsync).
	SyncDisk = "hsync"
)

// Config is what Open needs. The zero value of every field but Addresses and Root is a working default.
type Config struct {
	// Addresses are the NameNodes, host:port; with several the active one is found.
	Addresses []string
	// Nameservice is shown in place of an address, for a cluster with several NameNodes.
	Nameservice string
	// Root is the absolute path below which all keys are kept. It is made by the first Put.
	Root string
	// User acts at the NameNode; default: HADOOP_USER_NAME, or the user of the process. Kerberos decides by itself.
	User string

	// Replication is the number of replicas asked for; 0 takes the cluster's default.
	Replication int
	// MinReplicas is the smallest number of replicas with which a Put may return nil while DataNodes are missing; default 1. The
	// NameNode makes the others when it can.
	MinReplicas int
	// Sync is SyncReplicated (default) or SyncDisk.
	Sync string
	// MinBlockSize is the smallest block size that the cluster accepts (dfs.namenode.fs-limits.min-block-size); default 1 MiB.
	MinBlockSize int64

	// UseDatanodeHostname connects to DataNodes by name in place of the address that they registered with.
	UseDatanodeHostname bool

	// Kerberos, if set, authenticates; ServicePrincipal is the NameNode's, for example "nn/_HOST". The client is the caller's, who destroys it
	// when no store uses it any more, also that of ParseURL; OpenURL sees to its own.
	Kerberos         *krb.Client
	ServicePrincipal string
	// Protection is "", "authentication", "integrity" or "privacy": what is demanded of connections to DataNodes.
	Protection string

	Concurrency        int // connections to the NameNode; default 8
	JournalConnections int // of their own for driver.CompCommit; default 2

	// RetryTimeout ends the retries of one call; default 60 s. The time to move the call's own bytes at MinBandwidth comes on top.
	RetryTimeout time.Duration
	// AttemptTimeout is how long a NameNode may take to answer, and a DataNode to take or give the next bytes; default 5 s; it doubles
	// with each attempt up to eight times that.
	AttemptTimeout time.Duration
	// MinBandwidth in bytes/s sizes the timeouts of big objects; default 1 MiB/s.
	MinBandwidth int64
	// SweepAge is the age from which temporary files that crashed processes left are removed; default 1 h.
	SweepAge time.Duration

	// OnRetry, if set, is called before each wait for another attempt, from the goroutine of the call; it must not block.
	OnRetry func(Retry)
	// OnCall, if set, is called for each call to the NameNode and, with method "read" or "write", for each request to a DataNode.
	OnCall func(ctx context.Context, method string)
	// Dial, if set, makes all connections: to NameNodes and DataNodes.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Retry describes a failed attempt that will be repeated.
type Retry struct {
	Op        string
	Path      string
	Component driver.Component
	Attempt   int           // 1 for the first attempt
	Wait      time.Duration // until the next attempt
	Err       error         // what the attempt met
}

// EnsureDefaults returns a copy with the defaults filled in. c may be nil.
func (c *Config) EnsureDefaults() *Config {
	var d Config
	if c != nil {
		d = *c
	}
	if d.Root != "" {
		d.Root = path.Clean("/" + d.Root)
	}
	if d.User == "" {
		d.User = defaultUser()
	}
	if d.Sync == "" {
		d.Sync = SyncReplicated
	}
	set(&d.MinReplicas, 1)
	set(&d.MinBlockSize, 1<<20)
	set(&d.Concurrency, 8)
	set(&d.JournalConnections, 2)
	set(&d.RetryTimeout, time.Minute)
	set(&d.AttemptTimeout, 5*time.Second)
	set(&d.MinBandwidth, 1<<20)
	set(&d.SweepAge, time.Hour)
	if d.Dial == nil {
		d.Dial = (&net.Dialer{}).DialContext
	}
	return &d
}

func set[T int | int64 | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// Validate reports the first setting that cannot work. It makes no request.
func (c *Config) Validate() error {
	if len(c.Addresses) == 0 {
		return errors.New("no NameNode: want hdfs://host:port/path, or hdfs://nameservice/path with HADOOP_CONF_DIR")
	}
	for _, a := range c.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return fmt.Errorf("%q is not host:port", a)
		}
	}
	if c.Root == "" || c.Root == "/" {
		return errors.New("no path: a volume needs a directory of its own, as in hdfs://host:port/path")
	}
	for seg := range strings.SplitSeq(c.Root[1:], "/") {
		if strings.ContainsAny(seg, ":\x00") || seg == ".reserved" || seg == ".snapshot" || len(seg) > 255 {
			return fmt.Errorf("path: %q is no name for a directory in HDFS", seg)
		}
	}
	if len(c.Root) > 4000 {
		return fmt.Errorf("path of %d bytes: at most 4000 are legal, so that every key fits", len(c.Root))
	}
	switch {
	case c.User == "" && c.Kerberos == nil:
		return errors.New("no user: set HADOOP_USER_NAME")
	case c.Sync != SyncReplicated && c.Sync != SyncDisk:
		return fmt.Errorf("sync %q: want %s or %s", c.Sync, SyncReplicated, SyncDisk)
	case c.Replication < 0 || c.Replication > 512:
		return fmt.Errorf("replication %d: want 1 to 512, or 0 for the cluster's own", c.Replication)
	case c.MinReplicas < 1 || c.Replication > 0 && c.MinReplicas > c.Replication:
		return fmt.Errorf("min_replicas %d: want 1 up to the replication", c.MinReplicas)
	case c.MinBlockSize < chunkSize || c.MinBlockSize%chunkSize != 0:
		return fmt.Errorf("min_block_size %d: want a multiple of %d", c.MinBlockSize, chunkSize)
	case c.Concurrency < 1 || c.JournalConnections < 1:
		return errors.New("concurrency must be positive")
	case c.RetryTimeout < 0 || c.AttemptTimeout <= 0 || c.MinBandwidth <= 0 || c.SweepAge <= 0:
		return errors.New("timeouts, sweep_age and bandwidth must be positive")
	case c.Kerberos != nil && c.ServicePrincipal == "":
		return errors.New("kerberos: the NameNode's principal is missing (dfs.namenode.kerberos.principal in HADOOP_CONF_DIR)")
	}
	switch c.Protection {
	case "", "authentication", "integrity", "privacy":
	default:
		return fmt.Errorf("protection %q: want authentication, integrity or privacy", c.Protection)
	}
	return nil
}
