package forstprom

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/meter"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the table of docs/metrics.md")

type picture struct{ m forstfs.Metrics }

func (p *picture) Metrics() forstfs.Metrics { return p.m }

// samples gathers through a registry, which checks names, labels and duplicates.
func samples(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			all[fmt.Sprint(f.GetName(), m.GetLabel())] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

// Every number in forstfs.Metrics is a sample: each is set by itself, and exactly the samples of the right value change.
func TestEveryNumberIsThere(t *testing.T) {
	p := &picture{forstfs.Metrics{Store: meter.Snapshot{{Op: "get", Component: "read"}}}}
	c := Collector(p, "v")
	zero := samples(t, c)
	fields := 0
	var visit func(name string, v reflect.Value)
	visit = func(name string, v reflect.Value) {
		want := 7.0
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				visit(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				visit(fmt.Sprintf("%s[%d]", name, i), v.Index(i))
			}
			return
		case reflect.String: // a label
			return
		case reflect.Bool:
			v.SetBool(true)
			want = 1
		default:
			v.SetInt(7)
			if v.Type() == reflect.TypeFor[time.Duration]() {
				v.SetInt(int64(7 * time.Second))
			}
		}
		fields++
		changed := 0
		for k, got := range samples(t, c) {
			if got != zero[k] {
				changed++
				if got != want {
					t.Errorf("%s: %s is %v, want %v", name, k, got, want)
				}
			}
		}
		if changed != 1 {
			t.Errorf("%s is %d samples, want 1", name, changed)
		}
		v.SetZero()
	}
	visit("Metrics", reflect.ValueOf(&p.m).Elem())
	if fields < 100 {
		t.Errorf("only %d fields visited", fields)
	}
}

// A volume, and the same again under another name in one registry.
func TestVolumes(t *testing.T) {
	v, err := forstfs.Open(t.Context(), mem.New(nil), &forstfs.Options{Create: forstfs.CreateIfMissing, SkipProbe: true, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(Collector(v, "one"), Collector(v, "two"))
	if err := r.Register(Collector(v, "two")); err == nil {
		t.Error("two volumes of one name")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather() // of a closed volume
	if err != nil || len(families) != len(table) {
		t.Errorf("%d names, %v", len(families), err)
	}
}

type sender struct{ Source }

func (s sender) Describe(chan<- *prometheus.Desc) {}

func (s sender) Collect(out chan<- prometheus.Metric) { Send(out, s.Metrics(), "v") }

// Send says what a Collector says.
func TestSend(t *testing.T) {
	p := &picture{forstfs.Metrics{Store: meter.Snapshot{{Op: "get", Component: "read", Calls: 3}}, UploadMemory: 5}}
	want, got := samples(t, Collector(p, "v")), samples(t, sender{p})
	if !maps.Equal(want, got) || len(got) < 100 {
		t.Errorf("%d samples: %v\nwant %d: %v", len(got), got, len(want), want)
	}
}

// docs/metrics.md has exactly the names, kinds, labels and words of the table.
func TestDocs(t *testing.T) {
	const path, begin, end = "../docs/metrics.md", "| name | kind | labels | meaning |\n|---|---|---|---|\n", "\n## "
	var b strings.Builder
	for _, m := range table {
		kind := "gauge"
		if m.kind == prometheus.CounterValue {
			kind = "counter"
		}
		if strings.HasSuffix(m.name, "_total") != (kind == "counter") {
			t.Errorf("%s is a %s", m.name, kind)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, kind, strings.Join(m.labels, ", "), m.help)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table", path)
	}
	if have == b.String() {
		return
	}
	if !*rewrite {
		t.Fatalf("%s is another table: run the test with -rewrite and read the difference", path)
	}
	if err := os.WriteFile(path, []byte(head+begin+b.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
