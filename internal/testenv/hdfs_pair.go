package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pairName is the nameservice of a cluster with two NameNodes: hdfs://forst-pair/... with HADOOP_CONF_DIR.
const pairName = "forst-pair"

// StartHDFSPair starts a cluster of two NameNodes for this test alone, one of them active, with a log that they share in a folder and without
// automatic fail-over. Clients need HADOOP_CONF_DIR: see ConfDir. KillNameNode and the like mean the active one.
func StartHDFSPair(t testing.TB, settings ...string) *HDFSCluster {
	t.Helper()
	if os.Getenv(EnvHDFSImage) != "" {
		t.Fatal("a pair of NameNodes runs as processes only: their folder is shared")
	}
	return startOwn(t, hdfsPlan{pair: true, settings: pairs(settings)})
}

// Failover makes the other NameNode active, as an operator does (hdfs haadmin -failover). It returns when that one is active.
func (h *HDFSCluster) Failover(t testing.TB) {
	t.Helper()
	h.mustOwn(t)
	if err := h.c.activate(context.WithoutCancel(t.Context()), 1-h.c.active); err != nil {
		t.Fatal(err)
	}
}

// StartStandby starts the NameNode that was killed before the other one became active. It does not wait: see WaitStandby.
func (h *HDFSCluster) StartStandby(t testing.TB) { h.tell(t, h.c.names[1-h.c.active], "run") }

// WaitStandby waits until the NameNode that is not active runs and follows the log.
func (h *HDFSCluster) WaitStandby(t testing.TB) {
	t.Helper()
	h.mustOwn(t)
	if err := h.c.waitRole(context.WithoutCancel(t.Context()), 1-h.c.active, "standby"); err != nil {
		t.Fatal(err)
	}
}

func nameNodeID(i int) string { return fmt.Sprintf("nn%d", i+1) }

func (c *hdfsCluster) pairSettings() map[string]string {
	m := map[string]string{
		"dfs.nameservices":                                         pairName,
		"dfs.ha.namenodes." + pairName:                             nameNodeID(0) + "," + nameNodeID(1),
		"dfs.ha.fencing.methods":                                   "shell(/bin/true)", // the harness has killed the other one when it says so
		"dfs.ha.tail-edits.period":                                 "1s",
		"dfs.ha.tail-edits.in-progress":                            "false",
		"dfs.client.failover.proxy.provider." + pairName:           "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
		"ha.failover-controller.graceful-fence.connection.retries": "0",
		"ha.failover-controller.graceful-fence.rpc-timeout.ms":     "2000",
		"dfs.namenode.checkpoint.check.period":                     "3600s",
	}
	for i, a := range c.addrs {
		m["dfs.namenode.rpc-address."+pairName+"."+nameNodeID(i)] = a[0]
		m["dfs.namenode.http-address."+pairName+"."+nameNodeID(i)] = a[1]
	}
	return m
}

// pairUp completes the configuration of NameNode i, whose folder is dir. The shared log is in the folder of the first.
func (c *hdfsCluster) pairUp(i int, dir string, settings, own map[string]string) error {
	own["dfs.ha.namenode.id"] = nameNodeID(i)
	if i > 0 {
		own["dfs.namenode.shared.edits.dir"] = settings["dfs.namenode.shared.edits.dir"]
		return nil
	}
	shared := filepath.Join(dir, "shared")
	settings["dfs.namenode.shared.edits.dir"] = "file://" + shared
	own["dfs.namenode.shared.edits.dir"] = settings["dfs.namenode.shared.edits.dir"]
	// What initializeSharedEdits makes of a NameNode that has no log yet.
	if err := os.MkdirAll(filepath.Join(shared, "current"), 0o755); err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(HadoopPath(), "name", "current", "VERSION"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(shared, "current", "VERSION"), version, 0o644)
}

// activate makes NameNode i the active one.
func (c *hdfsCluster) activate(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := c.waitRole(ctx, i, "standby"); err != nil {
		return err
	}
	args := hadoopJVM(filepath.Join(HadoopPath(), "lib"), c.names[i].dir, "org.apache.hadoop.hdfs.tools.DFSHAAdmin", "-failover", nameNodeID(1-i), nameNodeID(i))
	out, err := exec.CommandContext(ctx, "java", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("haadmin -failover: %w\n%s\n%s", err, lastLines(out), c.names[i].log())
	}
	if err := c.waitRole(ctx, i, "active"); err != nil {
		return err
	}
	c.active, c.rpc, c.http = i, c.addrs[i][0], c.addrs[i][1]
	return nil
}

// waitRole waits until NameNode i is "active" or "standby".
func (c *hdfsCluster) waitRole(ctx context.Context, i int, role string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var beans struct{ Beans []struct{ State string } }
		err := jmx(ctx, c.addrs[i][1], "Hadoop:service=NameNode,name=NameNodeStatus", &beans)
		if err == nil && len(beans.Beans) == 1 && beans.Beans[0].State == role {
			return nil
		}
		if log := c.names[i].log(); strings.Contains(log, "Address already in use") || strings.Contains(log, "Port in use") {
			return errPortTaken
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("NameNode %d is not %s: %+v, %w\n%s", i, role, beans, ctx.Err(), c.names[i].log())
		}
	}
}
