// Package stateprom gives the metrics of a state backend to Prometheus: of the backend, of each state, of each shard's engine, and of each shard's volume.
//
//	registry.MustRegister(stateprom.Collector(backend, "orders"))
//
// docs/metrics.md lists the names. A scrape makes no request of the store. Programs that do not import this package link nothing of it.
package stateprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forst-go/forst/forstprom"
	"github.com/forst-go/forst/state"
)

// Source is what a collector reads: a backend.
type Source interface {
	// Metrics takes the picture; it may be called from many goroutines at once.
	Metrics() state.Metrics
}

// Collector gives the metrics of a backend, all with the label backend="name"; those of a shard's volume have the names of package forstprom, with the label
// volume="name/shard". States and shards come and go, so the collector describes nothing in advance: two backends of one name are not refused by Register, but
// by the first scrape. A backend that is closed has no shards any more; its other numbers stay as they are.
func Collector(b Source, name string) prometheus.Collector {
	return &collector{b, name}
}

type collector struct {
	source Source
	name   string
}

// Describe implements prometheus.Collector: it is an unchecked one.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	m := c.source.Metrics()
	send(out, backendTable, &m, c.name)
	for i := range m.States {
		send(out, stateTable, &m.States[i], c.name, m.States[i].Name, string(m.States[i].Kind))
	}
	for i := range m.Shards {
		s := &m.Shards[i]
		send(out, shardTable, s, c.name, s.Name)
		for level := range s.Engine.Levels {
			send(out, levelTable, &s.Engine.Levels[level], c.name, s.Name, levelNames[level])
		}
		forstprom.Send(out, s.Volume, c.name+"/"+s.Name)
	}
}

func send[T any](out chan<- prometheus.Metric, table []metric[T], m *T, labels ...string) {
	for i := range table {
		out <- prometheus.MustNewConstMetric(table[i].desc, table[i].kind, table[i].value(m), labels...)
	}
}
