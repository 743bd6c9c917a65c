package stateprom

import (
	"context"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/state"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the table of docs/metrics.md")

type picture struct{ m state.Metrics }

func (p *picture) Metrics() state.Metrics { return p.m }

// samples gathers through a registry, which checks names, labels and duplicates.
func samples(t *testing.T, cs ...prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(cs...)
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

// Every number in state.Metrics and state.StateMetrics is a sample: each is set by itself, and exactly the samples of the right value change.
func TestEveryNumberIsThere(t *testing.T) {
	p := &picture{state.Metrics{States: make([]state.StateMetrics, 1), Shards: []state.ShardMetrics{{Engine: &pebble.Metrics{}}}}}
	c := Collector(p, "b")
	zero := samples(t, c)
	fields := 0
	var visit func(name string, v reflect.Value)
	visit = func(name string, v reflect.Value) {
		want := 7.0
		switch {
		case v.Type() == reflect.TypeFor[state.KeyGroups](), v.Type() == reflect.TypeFor[[]state.ShardMetrics](), v.Kind() == reflect.String:
			return // TestBackend looks at these; the others are labels
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				visit(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		case v.Kind() == reflect.Slice:
			visit(name, v.Index(0))
			return
		case v.Type() == reflect.TypeFor[time.Duration]():
			v.SetInt(int64(7 * time.Second))
		case v.CanInt():
			v.SetInt(7)
		default:
			v.SetUint(7)
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
	if fields < 40 {
		t.Errorf("only %d fields visited", fields)
	}
}

// A backend at work, twice in one registry, and after its end.
func TestBackend(t *testing.T) {
	ctx := context.Background()
	b, err := state.Create(ctx, mem.New(nil), &state.Options{Keys: state.KeyGroups{Lo: 3, Hi: 7, Max: 16}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	v, err := state.NewValue(b, state.ValueDescriptor[int64]{Name: "count", Codec: state.Int64})
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for k := range int64(100) {
		if s := state.IntKey(k); b.Keys().Contains(state.KeyGroup(s.Key, b.Keys().Max)) {
			n++
			if err := v.Put(ctx, s, k); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := samples(t, Collector(b, "one"), Collector(b, "two"))
	shard := b.Metrics().Shards[0].Name
	for name, want := range map[string]float64{
		`forst_state_key_groups[name:"backend"  value:"one"]`:                                                        4,
		`forst_state_max_parallelism[name:"backend"  value:"two"]`:                                                   16,
		`forst_state_sets_total[name:"backend"  value:"one" name:"kind"  value:"value" name:"state"  value:"count"]`: n,
		`forst_state_engine_memtables[name:"backend"  value:"one" name:"shard"  value:"` + shard + `"]`:              1,
		`forst_volume_snapshots[name:"volume"  value:"two/` + shard + `"]`:                                           0,
	} {
		if have, ok := lookup(got, name); !ok || have != want || n == 0 {
			t.Errorf("%s is %v (there: %v), want %v", name, have, ok, want)
		}
	}
	r := prometheus.NewRegistry()
	r.MustRegister(Collector(b, "one"), Collector(b, "one"))
	if _, err := r.Gather(); err == nil {
		t.Error("two backends of one name")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if after := samples(t, Collector(b, "one")); len(after) != len(backendTable)+len(stateTable) {
		t.Errorf("%d samples of a closed backend", len(after))
	}
}

// lookup does not mind the spaces of protobuf's text, which differ from build to build on purpose.
func lookup(all map[string]float64, name string) (float64, bool) {
	plain := func(s string) string { return strings.ReplaceAll(s, " ", "") }
	for k, v := range all {
		if plain(k) == plain(name) {
			return v, true
		}
	}
	return 0, false
}

// docs/metrics.md has exactly the names, kinds, labels and words of the tables.
func TestDocs(t *testing.T) {
	const path, begin, end = "../../docs/metrics.md", "| name of a backend | kind | labels | meaning |\n|---|---|---|---|\n", "\n## "
	var b strings.Builder
	describe(t, &b, backendTable)
	describe(t, &b, stateTable)
	describe(t, &b, shardTable)
	describe(t, &b, levelTable)
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

func describe[T any](t *testing.T, b *strings.Builder, table []metric[T]) {
	t.Helper()
	for _, m := range table {
		kind := "gauge"
		if m.kind == prometheus.CounterValue {
			kind = "counter"
		}
		if strings.HasSuffix(m.name, "_total") != (kind == "counter") {
			t.Errorf("%s is a %s", m.name, kind)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", m.name, kind, strings.Join(m.labels, ", "), m.help)
	}
}
