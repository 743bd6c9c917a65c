package testenv

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// EnvHDFS names the shared cluster of a run, or one of your own: hdfs://HOST:PORT/DIRECTORY, with parameters if need be.
	EnvHDFS = "FORST_TEST_HDFS"
	// EnvHDFSWeb is the address HOST:PORT of its NameNode's web server; with it tests remove what they made.
	EnvHDFSWeb = "FORST_TEST_HDFS_WEB"
	// EnvHDFSURL is an hdfs:// URL on the shared cluster of a run, for commands; there is nothing below it.
	EnvHDFSURL = "FORST_TEST_HDFS_URL"
)

// HDFSCluster is a NameNode and three DataNodes for tests.
type HDFSCluster struct {
	base *url.URL // a directory
	web  string   // host:port of the NameNode's web server; empty if unknown
	c    *hdfsCluster
	own  bool // by one test, which may kill nodes
}

var (
	hdfsOnce   sync.Once
	hdfsShared *HDFSCluster
	hdfsErr    error
)

func hdfsAvailable() (why string, ok bool) {
	if os.Getenv(EnvHDFS) != "" {
		return "", true
	}
	if _, err := os.Stat(HadoopPath()); err != nil {
		return "there is no Hadoop: run `go run ./internal/testenv/cmd/forst-testenv build hdfs` once (Java 17, Maven, about 90 MB), or `make test`", false
	}
	return "", true
}

// HDFS returns the cluster that all tests of the run share, started if need be. See Need for when it skips. Tests must not stop its
// nodes; they keep apart by URL.
func HDFS(t testing.TB) *HDFSCluster {
	t.Helper()
	Need(t, "hdfs")
	hdfsOnce.Do(func() {
		if raw := os.Getenv(EnvHDFS); raw != "" {
			u, err := url.Parse(raw)
			if err != nil || u.Scheme != "hdfs" || u.Host == "" {
				hdfsErr = fmt.Errorf("%s must be hdfs://HOST:PORT/DIRECTORY", EnvHDFS)
				return
			}
			hdfsShared = &HDFSCluster{base: u, web: os.Getenv(EnvHDFSWeb)}
			return
		}
		c, err := startHDFS(context.Background(), hdfsPlan{})
		if err != nil {
			hdfsErr = err
			return
		}
		hdfsShared = c.handle(false) // the guards end it with this process
	})
	if hdfsErr != nil {
		t.Fatal(hdfsErr)
	}
	return hdfsShared
}

func (c *hdfsCluster) handle(own bool) *HDFSCluster {
	return &HDFSCluster{base: &url.URL{Scheme: "hdfs", Host: c.host, Path: "/forst"}, web: c.http, c: c, own: own}
}

// StartHDFS starts a cluster for this test alone, whose nodes may be killed, stopped and started again; it goes with the test. settings are
// for hdfs-site.xml, in pairs.
func StartHDFS(t testing.TB, settings ...string) *HDFSCluster {
	t.Helper()
	return startOwn(t, hdfsPlan{settings: pairs(settings)})
}

func pairs(settings []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(settings); i += 2 {
		m[settings[i]] = settings[i+1]
	}
	return m
}

// startOwn starts a cluster that goes with the test.
func startOwn(t testing.TB, plan hdfsPlan) *HDFSCluster {
	t.Helper()
	Need(t, "hdfs")
	if _, err := os.Stat(HadoopPath()); err != nil {
		t.Fatalf("a private cluster needs Hadoop here even where %s names a shared one: %v", EnvHDFS, err)
	}
	c, err := startHDFS(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.end(); err != nil {
			t.Errorf("ending HDFS: %v", err)
		}
	})
	return c.handle(true)
}

// Address is host:port of the NameNode.
func (h *HDFSCluster) Address() string { return h.base.Host }

// Dir is the path of a fresh directory that does not exist yet, which is removed with the test.
func (h *HDFSCluster) Dir(t testing.TB) string {
	t.Helper()
	dir := strings.TrimSuffix(h.base.Path, "/") + "/t-" + randomText(8)
	if !h.own && h.web != "" { // a private cluster goes as a whole
		t.Cleanup(func() {
			if err := h.removeAll(dir); err != nil {
				t.Errorf("removing %s: %v", dir, err)
			}
		})
	}
	return dir
}

// URL is the hdfs:// URL of a fresh directory.
func (h *HDFSCluster) URL(t testing.TB) string {
	t.Helper()
	return h.URLIn(h.Dir(t))
}

// URLIn is the URL of a path.
func (h *HDFSCluster) URLIn(path string) string {
	u := *h.base
	u.Path = path
	return u.String()
}

func (h *HDFSCluster) removeAll(dir string) error {
	req, err := http.NewRequest(http.MethodDelete, "http://"+h.web+"/webhdfs/v1"+dir+"?op=DELETE&recursive=true&user.name="+hadoopUser(), nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

func hadoopUser() string {
	if name := os.Getenv("HADOOP_USER_NAME"); name != "" {
		return name
	}
	return "forst"
}

// DataNodes is the number of DataNodes of a private cluster.
func (h *HDFSCluster) DataNodes() int { return hdfsNodes }

// KillDataNode ends DataNode i with SIGKILL. Its data stays.
func (h *HDFSCluster) KillDataNode(t testing.TB, i int) { h.tell(t, h.node(t, i), "kill") }

// PauseDataNode stops DataNode i with SIGSTOP: it takes connections and nothing answers.
func (h *HDFSCluster) PauseDataNode(t testing.TB, i int) { h.tell(t, h.node(t, i), "stop") }

// ResumeDataNode lets a stopped DataNode go on.
func (h *HDFSCluster) ResumeDataNode(t testing.TB, i int) { h.tell(t, h.node(t, i), "cont") }

// StartDataNode starts a killed DataNode again, on the same port and data. It does not wait: see WaitDataNode.
func (h *HDFSCluster) StartDataNode(t testing.TB, i int) { h.tell(t, h.node(t, i), "run") }

// KillNameNode ends the NameNode, of a pair the active one, with SIGKILL. Its log stays.
func (h *HDFSCluster) KillNameNode(t testing.TB) { h.tell(t, h.nameNode(t), "kill") }

// PauseNameNode stops the NameNode with SIGSTOP.
func (h *HDFSCluster) PauseNameNode(t testing.TB) { h.tell(t, h.nameNode(t), "stop") }

// ResumeNameNode lets a stopped NameNode go on.
func (h *HDFSCluster) ResumeNameNode(t testing.TB) { h.tell(t, h.nameNode(t), "cont") }

// StartNameNode starts a killed NameNode again, on the same ports and log. It does not wait: see WaitLive.
func (h *HDFSCluster) StartNameNode(t testing.TB) { h.tell(t, h.nameNode(t), "run") }

func (h *HDFSCluster) nameNode(t testing.TB) *jvm {
	t.Helper()
	h.mustOwn(t)
	return h.c.names[h.c.active]
}

// ConfDir is a folder for HADOOP_CONF_DIR: the cluster's own configuration.
func (h *HDFSCluster) ConfDir(t testing.TB) string { return h.nameNode(t).dir }

// WaitLive waits until the NameNode works and counts n live DataNodes.
func (h *HDFSCluster) WaitLive(t testing.TB, n int) {
	t.Helper()
	if err := h.c.ready(context.WithoutCancel(t.Context()), n); err != nil {
		t.Fatal(err)
	}
}

// WaitDataNode waits until DataNode i, started or resumed, serves and the NameNode has heard of it.
func (h *HDFSCluster) WaitDataNode(t testing.TB, i int) {
	t.Helper()
	h.mustOwn(t)
	ctx := context.WithoutCancel(t.Context()) // for cleanups, too
	if err := h.c.dataReady(ctx, i); err != nil {
		t.Fatal(err)
	}
}

// BlockFiles are the files in which DataNode i keeps blocks.
func (h *HDFSCluster) BlockFiles(t testing.TB, i int) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(h.node(t, i).dir, "data"), func(p string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), "blk_") && !strings.HasSuffix(d.Name(), ".meta") {
			files = append(files, p)
		}
		return nil // what goes away meanwhile is no error
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Syncs is how often the DataNodes have synced files because a client asked for it, as they told some seconds ago.
func (h *HDFSCluster) Syncs(t testing.TB) (n int64) {
	t.Helper()
	if h.web == "" {
		t.Fatalf("the web address of the NameNode is missing: set %s", EnvHDFSWeb)
	}
	nodes, err := liveNodes(t.Context(), h.web)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range nodes {
		k, err := counter(t.Context(), d.InfoAddr, "Hadoop:service=DataNode,name=DataNodeActivity-*", "FsyncCount")
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return n
}

// Settings are what the DataNodes say of a setting in their configuration; empty where it has none.
func (h *HDFSCluster) Settings(t testing.TB, name string) (values []string) {
	t.Helper()
	if h.web == "" {
		t.Fatalf("the web address of the NameNode is missing: set %s", EnvHDFSWeb)
	}
	nodes, err := liveNodes(t.Context(), h.web)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range nodes {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.InfoAddr+"/conf?name="+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
			t.Fatalf("HTTP %d, %v", resp.StatusCode, err)
		}
		_, value, _ := strings.Cut(string(body), "<value>")
		value, _, _ = strings.Cut(value, "</value>")
		values = append(values, value)
	}
	return values
}

func (h *HDFSCluster) node(t testing.TB, i int) *jvm {
	t.Helper()
	h.mustOwn(t)
	return h.c.data[i]
}

func (h *HDFSCluster) tell(t testing.TB, j *jvm, command string) {
	t.Helper()
	h.mustOwn(t)
	if _, err := j.server.tell(command); err != nil {
		t.Fatal(err)
	}
}

func (h *HDFSCluster) mustOwn(t testing.TB) {
	t.Helper()
	if !h.own {
		t.Fatal("the nodes of the shared cluster must not be stopped: use testenv.StartHDFS")
	}
}

// DataNodeAt is the index of the DataNode that serves data at an address.
func (h *HDFSCluster) DataNodeAt(t testing.TB, addr string) int {
	t.Helper()
	h.mustOwn(t)
	for i, j := range h.c.data {
		if j.xfer == addr {
			return i
		}
	}
	t.Fatalf("no DataNode at %s", addr)
	return -1
}

// underReplicated finds the number in the report of fsck, which, unlike the NameNode's metrics, is of this moment.
var underReplicated = regexp.MustCompile(`Under-replicated blocks:\s+(\d+)`)

// WaitReplicated waits until no block lacks a replica.
func (h *HDFSCluster) WaitReplicated(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		report, err := h.fsck()
		if m := underReplicated.FindStringSubmatch(report); m != nil && m[1] == "0" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("blocks lack replicas: %v\n%s", err, report)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (h *HDFSCluster) fsck() (string, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+h.web+"/fsck?path=/&ugi="+hadoopUser(), nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}
