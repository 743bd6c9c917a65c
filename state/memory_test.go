package state

import "testing"

// Backends of a process share one budget, which outlives any of them.
func TestMemoryIsShared(t *testing.T) {
	const budget = 4 << 20
	m, err := NewMemory(budget)
	ok(t, err)
	var jobs []*job
	for range 3 {
		o := small()
		o.Memory = m
		j := declareJob(t, create(t, roots[0].new(t), o), TTL{})
		for k := range int64(300) {
			ok(t, j.m.Put(ctx, IntKey(k), 1, string(make([]byte, 4000))))
		}
		ok(t, j.b.shards[0].db.Flush())
		jobs = append(jobs, j)
	}
	read := func(j *job) {
		for k := range int64(300) {
			equal(t, "entry", len(must(j.m.GetAll(ctx, IntKey(k), 1))(t)[0].V), 4000)
		}
	}
	for _, j := range jobs {
		read(j)
	}
	until(t, "every engine sees the same cache, within the budget", func() bool { // compactions go on
		sizes := map[int64]bool{}
		for _, j := range jobs {
			sizes[j.b.Metrics().Shards[0].Engine.BlockCache.Size] = true
		}
		for size := range sizes {
			return len(sizes) == 1 && size > 0 && size <= budget/4*3
		}
		return false
	})
	ok(t, jobs[0].b.Close())
	read(jobs[1])
	for _, j := range jobs[1:] {
		ok(t, j.b.Close())
	}
	ok(t, m.Close())
}
