package hdfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/colinmarc/hdfs/v2/hadoopconf"
	krb "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"github.com/forst-go/forst/forstfs/driver"
)

// settings are what a URL can say.
type settings struct {
	Config
	keytab, principal string
}

// params are the query parameters of a URL. Secrets are not among them: a URL ends up in logs and process lists.
var params = map[string]func(c *settings, v string) error{
	"user":              func(c *settings, v string) error { c.User = v; return nil },
	"sync":              func(c *settings, v string) error { c.Sync = v; return nil },
	"protection":        func(c *settings, v string) error { c.Protection = v; return nil },
	"keytab":            func(c *settings, v string) error { c.keytab = v; return nil },
	"principal":         func(c *settings, v string) error { c.principal = v; return nil },
	"replication":       number(func(c *settings) *int { return &c.Replication }),
	"min_replicas":      number(func(c *settings) *int { return &c.MinReplicas }),
	"concurrency":       number(func(c *settings) *int { return &c.Concurrency }),
	"datanode_hostname": func(c *settings, v string) error { return parse(v, strconv.ParseBool, &c.UseDatanodeHostname) },
	"min_block_size": func(c *settings, v string) error {
		return parse(v, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }, &c.MinBlockSize)
	},
	"journal_connections": number(func(c *settings) *int { return &c.JournalConnections }),
	"retry_timeout":       func(c *settings, v string) error { return parse(v, time.ParseDuration, &c.RetryTimeout) },
	"attempt_timeout":     func(c *settings, v string) error { return parse(v, time.ParseDuration, &c.AttemptTimeout) },
	"sweep_age":           func(c *settings, v string) error { return parse(v, time.ParseDuration, &c.SweepAge) },
}

func number(field func(*settings) *int) func(*settings, string) error {
	return func(c *settings, v string) error { return parse(v, strconv.Atoi, field(c)) }
}

func parse[T any](v string, parse func(string) (T, error), to *T) error {
	x, err := parse(v)
	if err != nil {
		return fmt.Errorf("%q is not a %T", v, x)
	}
	*to = x
	return nil
}

// ParseURL makes a Config from "hdfs://host:port/path?replication=...", or from "hdfs://nameservice/path" with the configuration of
// Hadoop in HADOOP_CONF_DIR. It reads the environment, that configuration and Kerberos' files, and makes no request to the NameNode. It
// refuses passwords and unknown parameters and lists those that it knows.
func ParseURL(u *url.URL) (*Config, error) {
	bad := func(format string, args ...any) error {
		return &driver.Error{Op: "open", Path: safeURL(u), Kind: driver.KindInvalid, Err: fmt.Errorf(format, args...)}
	}
	if u.User != nil {
		return nil, bad("a user or password does not belong before the host: use user=NAME, HADOOP_USER_NAME or Kerberos")
	}
	if u.Opaque != "" || u.Fragment != "" {
		return nil, bad("want hdfs://host:port/path?name=value&...")
	}
	conf, err := hadoopconf.LoadFromEnvironment()
	if err != nil {
		return nil, bad("reading the configuration of Hadoop in HADOOP_CONF_DIR: %w", err)
	}
	options := hdfs.ClientOptionsFromConf(conf)
	c := &settings{Config: Config{Root: u.Path, UseDatanodeHostname: options.UseDatanodeHostname, Protection: options.DataTransferProtection,
		ServicePrincipal: options.KerberosServicePrincipleName}}
	if err := c.namenodes(u.Host, conf); err != nil {
		return nil, bad("%w", err)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, bad("the query is not well-formed")
	}
	known := strings.Join(slices.Sorted(maps.Keys(params)), ", ")
	for _, name := range slices.Sorted(maps.Keys(query)) {
		set, ok := params[name]
		if !ok {
			return nil, bad("unknown parameter %q; known are: %s", name, known)
		}
		if len(query[name]) != 1 {
			return nil, bad("parameter %q is given %d times", name, len(query[name]))
		}
		if err := set(c, query[name][0]); err != nil {
			return nil, bad("parameter %q: %w", name, err)
		}
	}
	if options.KerberosClient != nil || c.principal != "" || c.keytab != "" {
		if c.Kerberos, err = c.login(); err != nil {
			return nil, &driver.Error{Op: "open", Path: safeURL(u), Kind: driver.KindPermission, Err: fmt.Errorf("kerberos: %w", err)}
		}
	}
	return &c.Config, nil
}

// namenodes finds the addresses behind the host of a URL: host:port, host, or the name of a nameservice.
func (c *settings) namenodes(host string, conf hadoopconf.HadoopConf) error {
	if host == "" { // hdfs:///path: the configured file system
		u, err := url.Parse(conf["fs.defaultFS"])
		if err != nil || u.Scheme != "hdfs" || u.Host == "" {
			return errors.New("no NameNode: want hdfs://host:port/path, or fs.defaultFS in HADOOP_CONF_DIR")
		}
		host = u.Host
	}
	if ids, ok := conf["dfs.ha.namenodes."+host]; ok {
		c.Nameservice = host
		for id := range strings.SplitSeq(ids, ",") {
			key := "dfs.namenode.rpc-address." + host + "." + strings.TrimSpace(id)
			if conf[key] == "" {
				return fmt.Errorf("the configuration in HADOOP_CONF_DIR has no %s", key)
			}
			c.Addresses = append(c.Addresses, conf[key])
		}
		return nil
	}
	if addr := conf["dfs.namenode.rpc-address."+host]; addr != "" { // one of several federated services
		c.Nameservice, host = host, addr
	}
	if strings.Contains(host, ",") {
		return errors.New("one NameNode, please: several belong into HADOOP_CONF_DIR as a nameservice")
	}
	if _, port, err := net.SplitHostPort(host); err != nil || port == "" {
		host = net.JoinHostPort(strings.Trim(strings.TrimSuffix(host, ":"), "[]"), "8020")
	}
	c.Addresses = []string{host}
	return nil
}

// login makes a Kerberos client from a keytab, or from the ticket cache that kinit fills.
func (c *settings) login() (*krb.Client, error) {
	file := os.Getenv("KRB5_CONFIG")
	if file == "" {
		file = "/etc/krb5.conf"
	}
	conf, err := config.Load(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if c.keytab != "" {
		name, realm, ok := strings.Cut(c.principal, "@")
		if !ok {
			return nil, errors.New("a keytab needs principal=NAME@REALM")
		}
		kt, err := keytab.Load(c.keytab)
		if err != nil {
			return nil, err
		}
		client := krb.NewWithKeytab(name, realm, kt, conf, krb.DisablePAFXFAST(true))
		if err := client.Login(); err != nil {
			return nil, err
		}
		return client, nil
	}
	cache := os.Getenv("KRB5CCNAME")
	if kind, rest, ok := strings.Cut(cache, ":"); ok {
		if kind != "FILE" {
			return nil, fmt.Errorf("a ticket cache of type %s is not supported: use FILE:, or keytab= and principal=", kind)
		}
		cache = rest
	}
	if cache == "" {
		cache = "/tmp/krb5cc_" + strconv.Itoa(os.Getuid())
	}
	tickets, err := credentials.LoadCCache(cache)
	if err != nil {
		return nil, fmt.Errorf("no tickets (run kinit, or give keytab= and principal=): %w", err)
	}
	return krb.NewFromCCache(tickets, conf, krb.DisablePAFXFAST(true))
}

// OpenURL is the driver.Opener of the scheme "hdfs".
func OpenURL(ctx context.Context, u *url.URL) (driver.Store, error) {
	c, err := ParseURL(u)
	if err != nil {
		return nil, err
	}
	s, err := Open(ctx, c)
	switch {
	case c.Kerberos == nil:
	case err != nil:
		c.Kerberos.Destroy()
	default:
		s.logout = sync.OnceFunc(c.Kerberos.Destroy)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// safeURL is what errors show of a URL: neither user nor query.
func safeURL(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }

// defaultUser is the user that Hadoop's own clients would take.
func defaultUser() string {
	if name := os.Getenv("HADOOP_USER_NAME"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
