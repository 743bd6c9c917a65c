package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hdfsNodes is the number of DataNodes of a cluster.
const hdfsNodes = 3

// hdfsCluster is a NameNode, or a pair of them, and DataNodes, each in a process of its own with a guard.
type hdfsCluster struct {
	plan      hdfsPlan
	rpc, http string // addresses of the NameNode; of a pair, of the active one
	host      string // of URLs: that address, or the name of the pair
	active    int    // of a pair
	addrs     [][2]string
	names     []*jvm
	data      []*jvm
}

// hdfsPlan says how a cluster differs from the usual one.
type hdfsPlan struct {
	core, settings map[string]string // for core-site.xml and hdfs-site.xml
	pair           bool              // two NameNodes; see hdfs_pair.go
	kdc            *kdc              // Kerberos; see kerberos.go
}

// jvm is one server of the cluster.
type jvm struct {
	server // a process, or a container
	dir    string
	xfer   string // where a DataNode serves data
}

// server is a program that a test may kill, stop and start: tell obeys "run", "kill", "stop" and "cont".
type server interface {
	tell(command string) (string, error)
	log() string
	end() error
}

// startHDFS starts a cluster on free loopback ports and waits until it takes blocks on all DataNodes.
func startHDFS(ctx context.Context, plan hdfsPlan) (*hdfsCluster, error) {
	var last error
	for range 5 { // another process may take a free port before the server does
		c, err := tryHDFS(ctx, plan)
		if err == nil {
			return c, nil
		}
		if last = err; !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, last
}

func tryHDFS(ctx context.Context, plan hdfsPlan) (_ *hdfsCluster, err error) {
	c := &hdfsCluster{plan: plan}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.end())
		}
	}()
	lib, shm, disk := filepath.Join(HadoopPath(), "lib"), shmBase(), tempBase
	if os.Getenv(EnvHDFSImage) != "" {
		lib = "/opt/hadoop/lib"
		disk = os.Getenv(envHDFSRuns)
		shm = disk
	}
	nameNodes := 1
	if plan.pair {
		nameNodes = 2
	}
	ports := make([]string, 2*nameNodes+hdfsNodes)
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	for i := range nameNodes {
		c.addrs = append(c.addrs, [2]string{ports[2*i], ports[2*i+1]})
	}
	ports = ports[2*nameNodes:]
	c.rpc, c.http, c.host = c.addrs[0][0], c.addrs[0][1], c.addrs[0][0]
	settings := map[string]string{
		"dfs.replication": "3", "dfs.permissions.enabled": "false",
		"dfs.namenode.safemode.extension": "0", "dfs.namenode.safemode.min.datanodes": "1",
		"dfs.namenode.datanode.registration.ip-hostname-check": "false", "dfs.datanode.hostname": "127.0.0.1",
		// A node counts as dead after 2*1 s + 10*1 s in place of ten and a half minutes.
		"dfs.heartbeat.interval": "1", "dfs.namenode.heartbeat.recheck-interval": "1000",
		"dfs.namenode.redundancy.considerLoad": "false", "dfs.namenode.redundancy.interval.seconds": "1s",
		"dfs.namenode.avoid.read.stale.datanode": "true", "dfs.namenode.stale.datanode.interval": "3000",
		"dfs.client.socket-timeout": "10000",
		// A new replica that was sent to a node which turns out to be dead is sent to another after this time, in place of five minutes.
		"dfs.namenode.reconstruction.pending.timeout-sec": "5", "dfs.namenode.replication.max-streams": "20",
		"dfs.namenode.replication.max-streams-hard-limit": "40", "dfs.namenode.replication.work.multiplier.per.iteration": "20",
		// The disk of a machine for tests is often nearly full.
		"dfs.datanode.du.reserved": "0", "dfs.namenode.resource.du.reserved": "1048576",
		"dfs.namenode.handler.count": "20", "dfs.datanode.directoryscan.interval": "-1", "dfs.block.scanner.volume.bytes.per.second": "0",
	}
	if plan.pair {
		c.host = pairName
		maps.Copy(settings, c.pairSettings())
	} else {
		settings["dfs.namenode.rpc-address"], settings["dfs.namenode.http-address"] = c.rpc, c.http
	}
	core := map[string]string{"fs.defaultFS": "hdfs://" + c.host, "hadoop.security.authentication": "simple"}
	var flags []string
	if plan.kdc != nil {
		flags = plan.kdc.configure(core, settings)
	}
	maps.Copy(core, plan.core)
	maps.Copy(settings, plan.settings)
	for i := range nameNodes {
		node, err := newJVM("namenode", shm, func(dir string) ([]string, error) {
			own := maps.Clone(settings)
			own["dfs.namenode.name.dir"] = "file://" + filepath.Join(dir, "name")
			if err := os.CopyFS(filepath.Join(dir, "name"), os.DirFS(filepath.Join(HadoopPath(), "name"))); err != nil {
				return nil, err
			}
			if plan.pair {
				if err := c.pairUp(i, dir, settings, own); err != nil {
					return nil, err
				}
			}
			return append(slices.Clone(flags), hadoopJVM(lib, dir, "org.apache.hadoop.hdfs.server.namenode.NameNode")...), writeHadoopConf(dir, core, own)
		})
		if err != nil {
			return nil, err
		}
		c.names = append(c.names, node)
	}
	for i := range hdfsNodes {
		node, err := newJVM("datanode", disk, func(dir string) ([]string, error) {
			own := maps.Clone(settings)
			own["dfs.datanode.data.dir"] = "file://" + filepath.Join(dir, "data")
			own["dfs.datanode.address"] = ports[i] // its own port again after a restart
			own["dfs.datanode.ipc.address"], own["dfs.datanode.http.address"] = "127.0.0.1:0", "127.0.0.1:0"
			return append(slices.Clone(flags), hadoopJVM(lib, dir, "org.apache.hadoop.hdfs.server.datanode.DataNode")...), writeHadoopConf(dir, core, own)
		})
		if err != nil {
			return nil, err
		}
		node.xfer = ports[i]
		c.data = append(c.data, node)
	}
	for _, j := range c.all() {
		if _, err := j.tell("run"); err != nil {
			return nil, err
		}
	}
	if plan.pair {
		if err := c.activate(ctx, 0); err != nil {
			return nil, err
		}
	}
	return c, c.ready(ctx, hdfsNodes)
}

// all are the servers.
func (c *hdfsCluster) all() []*jvm { return slices.Concat(c.names, c.data) }

// shmBase is where a NameNode keeps its log: each of its answers waits for a sync, and on a small machine's disk that is all one would
// measure. What is there survives the process.
func shmBase() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() && !strings.HasPrefix(tempBase, "/dev/shm") {
		if f, err := os.CreateTemp("/dev/shm", "forst-"); err == nil {
			f.Close()
			os.Remove(f.Name())
			return "/dev/shm"
		}
	}
	return tempBase
}

func newJVM(what, base string, args func(dir string) ([]string, error)) (*jvm, error) {
	dir, err := os.MkdirTemp(base, "forst-"+what+"-")
	if err != nil {
		return nil, err
	}
	words, err := args(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	j := &jvm{dir: dir}
	if image := os.Getenv(EnvHDFSImage); image != "" {
		j.server = &hadoopContainer{image: image, name: filepath.Base(dir) + "-" + randomText(3), dir: dir, args: words}
		return j, nil
	}
	g, err := newGuard(dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "JAVA_HOME=" + os.Getenv("JAVA_HOME")}, append([]string{"java"}, words...)...)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	j.server = g
	return j, nil
}

// ready waits until the NameNode is out of safe mode and counts so many live DataNodes.
func (c *hdfsCluster) ready(ctx context.Context, live int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		state, err := c.state(ctx)
		if err == nil && state.NumLiveDataNodes == live && state.FSState == "Operational" {
			return nil
		}
		for _, j := range c.all() {
			log := j.log()
			switch {
			case strings.Contains(log, "Address already in use") || strings.Contains(log, "Port in use"):
				return errPortTaken
			case strings.Contains(log, "ExitUtil: Exiting with status 1") || strings.Contains(log, "Could not find or load main class") || strings.Contains(log, "java: not found"):
				return fmt.Errorf("HDFS does not start:\n%s", log)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("HDFS does not become ready: %+v, %w\n%s", state, errors.Join(err, ctx.Err()), c.names[c.active].log())
		}
	}
}

// hdfsState is what the NameNode says about the cluster.
type hdfsState struct {
	FSState          string
	NumLiveDataNodes int
	NumDeadDataNodes int
}

func (c *hdfsCluster) state(ctx context.Context) (s hdfsState, err error) {
	var bean struct{ Beans []hdfsState }
	if err := jmx(ctx, c.http, "Hadoop:service=NameNode,name=FSNamesystemState", &bean); err != nil {
		return s, err
	}
	if len(bean.Beans) != 1 {
		return s, errors.New("the NameNode has no state yet")
	}
	return bean.Beans[0], nil
}

// jmx asks a server of Hadoop for beans.
func jmx(ctx context.Context, addr, query string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/jmx?qry="+query, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return json.Unmarshal(body, into)
}

// end kills all servers, removes their folders and waits for both.
func (c *hdfsCluster) end() error {
	var errs []error
	for _, j := range c.all() {
		if j != nil {
			errs = append(errs, j.end())
		}
	}
	return errors.Join(errs...)
}

// counter reads a number of a bean.
func counter(ctx context.Context, addr, query, name string) (int64, error) {
	var beans struct{ Beans []map[string]any }
	if err := jmx(ctx, addr, query, &beans); err != nil {
		return 0, err
	}
	var sum int64
	found := false
	for _, b := range beans.Beans {
		if v, ok := b[name].(float64); ok {
			sum += int64(v)
			found = true
		}
	}
	if !found {
		return 0, fmt.Errorf("no %s in %s", name, strconv.Quote(query))
	}
	return sum, nil
}

// hdfsNode is what the NameNode says about a DataNode that it counts as alive.
type hdfsNode struct {
	InfoAddr, XferAddr string
	LastContact        int // seconds ago
}

// liveNodes asks a NameNode for the DataNodes that it counts as alive.
func liveNodes(ctx context.Context, web string) (map[string]hdfsNode, error) {
	var beans struct{ Beans []struct{ LiveNodes string } }
	if err := jmx(ctx, web, "Hadoop:service=NameNode,name=NameNodeInfo", &beans); err != nil {
		return nil, err
	}
	if len(beans.Beans) != 1 {
		return nil, errors.New("the NameNode has no list of nodes")
	}
	var live map[string]hdfsNode
	err := json.Unmarshal([]byte(beans.Beans[0].LiveNodes), &live)
	return live, err
}

// live asks the NameNode for DataNode i.
func (c *hdfsCluster) live(ctx context.Context, i int) (hdfsNode, error) {
	nodes, err := liveNodes(ctx, c.http)
	if err != nil {
		return hdfsNode{}, err
	}
	for _, n := range nodes {
		if n.XferAddr == c.data[i].xfer {
			return n, nil
		}
	}
	return hdfsNode{}, fmt.Errorf("the NameNode does not know DataNode %d", i)
}

// dataReady waits until DataNode i takes connections and the NameNode has heard of it since.
func (c *hdfsCluster) dataReady(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.data[i].xfer)
		if err == nil {
			conn.Close()
			var n hdfsNode
			// A process takes longer to start than two heartbeats: this is no contact of the one before.
			if n, err = c.live(ctx, i); err == nil && n.LastContact <= 1 {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("DataNode %d does not become ready: %w\n%s", i, errors.Join(err, ctx.Err()), c.data[i].log())
		}
	}
}
