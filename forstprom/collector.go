// Package forstprom gives the metrics of volumes to Prometheus:
//
//	registry.MustRegister(forstprom.Collector(vol, "orders"))
//
// docs/metrics.md lists the names. A scrape takes one forstfs.Metrics and makes no request of the store. Programs that do not import this package link nothing of it.
package forstprom

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forst-go/forst/forstfs"
)

// Source is what a collector reads: a volume.
type Source interface {
	// Metrics takes the picture; it may be called from many goroutines at once.
	Metrics() forstfs.Metrics
}

// Collector gives the metrics of a volume, all with the label volume="name". Several volumes of a process are registered one by one under names of their own.
// What begins with forst_cache_ is about the cache: volumes that share one report the same numbers, which are not to be added up.
// It may be registered as long as the process lives: the numbers of a closed volume stay as they are.
func Collector(v Source, name string) prometheus.Collector {
	c := &collector{source: v}
	for i := range table {
		m := &table[i]
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, prometheus.Labels{"volume": name}))
	}
	return c
}

type collector struct {
	source Source
	descs  []*prometheus.Desc // of table, in its order
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	m := c.source.Metrics()
	for i := range table {
		table[i].values(&m, func(v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(c.descs[i], table[i].kind, v, labels...)
		})
	}
}

// Send gives a picture of a volume under the names and labels of a Collector. It is for collectors of what has volumes that come and go; such a collector
// describes nothing in advance.
func Send(out chan<- prometheus.Metric, m forstfs.Metrics, volume string) {
	descs := sendDescs()
	for i := range table {
		table[i].values(&m, func(v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(descs[i], table[i].kind, v, append([]string{volume}, labels...)...)
		})
	}
}

var sendDescs = sync.OnceValue(func() (all []*prometheus.Desc) {
	for i := range table {
		m := &table[i]
		all = append(all, prometheus.NewDesc(m.name, m.help, append([]string{"volume"}, m.labels...), nil))
	}
	return all
})
