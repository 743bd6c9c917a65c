package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// EnvHadoop names another version of Apache Hadoop than the usual one, for example 3.4.1.
const EnvHadoop = "FORST_TEST_HADOOP"

// hadoopVersion is what HDFS runs from: the artifacts of Apache Hadoop that Maven downloads. Nothing of it is in go.mod.
func hadoopVersion() string {
	if v := os.Getenv(EnvHadoop); v != "" {
		return v
	}
	return "3.5.0"
}

const hadoopPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
 <groupId>forst</groupId><artifactId>hdfs-for-tests</artifactId><version>1</version><packaging>pom</packaging>MANAGED
 <dependencies>
  <dependency><groupId>org.apache.hadoop</groupId><artifactId>hadoop-common</artifactId><version>VERSION</version></dependency>
  <dependency><groupId>org.apache.hadoop</groupId><artifactId>hadoop-hdfs</artifactId><version>VERSION</version></dependency>
  <dependency><groupId>org.apache.hadoop</groupId><artifactId>hadoop-hdfs-client</artifactId><version>VERSION</version></dependency>
 </dependencies></project>
`

// hadoopManaged takes the versions of all libraries from Hadoop itself: without it Maven gives 3.4 two of Jackson's that do not fit.
const hadoopManaged = `
 <dependencyManagement><dependencies>
  <dependency><groupId>org.apache.hadoop</groupId><artifactId>hadoop-project</artifactId><version>VERSION</version><type>pom</type><scope>import</scope></dependency>
 </dependencies></dependencyManagement>`

// mavenGoal copies what a pom depends on. The plugin's version is pinned: another would be downloaded with each Maven.
const mavenGoal = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"

// HadoopPath is where Hadoop is or will be: its jars in lib, and an empty NameNode's folder in name.
func HadoopPath() string { return filepath.Join(CacheDir(), "hadoop-"+hadoopVersion()) }

// hadoopMissing says what a machine lacks to run HDFS; nil if nothing.
func hadoopMissing() error {
	var lacks []string
	for _, program := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			lacks = append(lacks, program)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("HDFS for tests needs Java 17 and Maven, and this machine has no %s: install them (Debian: openjdk-17-jre-headless, maven), "+
		"name a cluster of your own in %s, or leave HDFS out (make test SERVERS=s3)", strings.Join(lacks, " and no "), EnvHDFS)
}

// BuildHadoop downloads the jars and formats a NameNode, unless both are there. It may run at the same time in several processes: each
// works aside and the result appears whole. A download that was broken off goes on where it was: Maven keeps what it has in .cache/m2.
func BuildHadoop(ctx context.Context, progress io.Writer) error {
	dir := HadoopPath()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := hadoopMissing(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "build-hadoop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintf(progress, "downloading Apache Hadoop %s with Maven, once (about 90 MB)\n", hadoopVersion())
	pom := filepath.Join(tmp, "pom.xml")
	managed := ""
	if os.Getenv(EnvHadoop) != "" {
		managed = hadoopManaged
	}
	text := strings.NewReplacer("VERSION", hadoopVersion(), "MANAGED", strings.ReplaceAll(managed, "VERSION", hadoopVersion())).Replace(hadoopPOM)
	if err := os.WriteFile(pom, []byte(text), 0o644); err != nil {
		return err
	}
	made := filepath.Join(tmp, "hadoop")
	for try := 1; ; try++ {
		cmd := exec.CommandContext(ctx, "mvn", "-B", "-q", "-f", pom, "-Dmaven.repo.local="+filepath.Join(CacheDir(), "m2"),
			mavenGoal, "-DoutputDirectory="+filepath.Join(made, "lib"), "-DincludeScope=runtime")
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		if try == 4 || ctx.Err() != nil {
			return fmt.Errorf("downloading Hadoop: %w\n%s", err, lastLines(out))
		}
		fmt.Fprintf(progress, "the download was broken off and goes on (%v)\n", err)
	}
	if err := formatNamenode(ctx, made); err != nil {
		return err
	}
	err = os.Rename(made, dir)
	if errors.Is(err, os.ErrExist) { // another process was faster
		return nil
	}
	return err
}

// formatNamenode makes the folder of an empty NameNode, which every cluster begins with a copy of: formatting takes seconds.
func formatNamenode(ctx context.Context, hadoop string) error {
	conf := filepath.Join(hadoop, "format")
	if err := writeHadoopConf(conf, map[string]string{"fs.defaultFS": "hdfs://127.0.0.1:1"},
		map[string]string{"dfs.namenode.name.dir": "file://" + filepath.Join(hadoop, "name")}); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "java", hadoopJVM(filepath.Join(hadoop, "lib"), conf, "org.apache.hadoop.hdfs.server.namenode.NameNode", "-format", "-force", "-nonInteractive")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting a NameNode (Hadoop %s needs Java 17): %w\n%s", hadoopVersion(), err, lastLines(out))
	}
	return os.RemoveAll(conf)
}

// hadoopJVM gives the arguments of java for one of Hadoop's programs. lib is where the jars are.
func hadoopJVM(lib, conf, main string, args ...string) []string {
	words := []string{"-Xmx256m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true",
		"-Dhadoop.log.dir=" + conf, "-Djava.io.tmpdir=" + conf}
	for _, p := range []string{"java.io", "java.lang", "java.lang.reflect", "java.math", "java.net", "java.text", "java.util",
		"java.util.concurrent", "java.util.zip", "sun.security.util", "sun.security.x509"} {
		words = append(words, "--add-opens=java.base/"+p+"=ALL-UNNAMED")
	}
	words = append(words, "-cp", conf+":"+filepath.Join(lib, "*"), main)
	return append(words, args...)
}

const hadoopLog = `log4j.rootLogger=WARN,A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.target=System.err
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
`

// writeHadoopConf makes a configuration folder. The jars of Maven do not have the folders of the web pages, without which no server of
// Hadoop starts: empty ones do.
func writeHadoopConf(dir string, core, hdfs map[string]string) error {
	for _, sub := range []string{"webapps/hdfs", "webapps/datanode", "webapps/static"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for name, keys := range map[string]map[string]string{"core-site.xml": core, "hdfs-site.xml": hdfs} {
		var b strings.Builder
		b.WriteString("<configuration>\n")
		for k, v := range keys {
			fmt.Fprintf(&b, "<property><name>%s</name><value>%s</value></property>\n", k, v)
		}
		b.WriteString("</configuration>\n")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "log4j.properties"), []byte(hadoopLog), 0o644)
}
