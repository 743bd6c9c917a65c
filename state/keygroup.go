package state

import (
	"fmt"
	"hash/fnv"
)

// MaxKeyGroups is the largest maximum parallelism.
const MaxKeyGroups = 1 << 15

// DefaultMaxParallelism is the number of key groups of a job that does not choose one. It can only be changed by an export and import.
const DefaultMaxParallelism = 128

// KeyGroup is the group of a key, in [0, maxParallelism). Whoever sends records to instances uses it, too:
// Instance says which groups an instance owns.
func KeyGroup(key []byte, maxParallelism int) int {
	f := fnv.New64a()
	f.Write(key)
	h := f.Sum64()
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	h ^= h >> 29
	return int(h % uint64(maxParallelism))
}

// KeyGroups is the half-open range [Lo, Hi) of the Max key groups of a job. The zero value stands for all groups of DefaultMaxParallelism.
type KeyGroups struct {
	Lo  int `json:"lo"`
	Hi  int `json:"hi"`
	Max int `json:"max"`
}

// AllKeys is the range of a job with one instance.
func AllKeys(maxParallelism int) KeyGroups { return KeyGroups{0, maxParallelism, maxParallelism} }

// Instance is the range of instance i of n. The ranges of all instances cover all groups without overlap.
func Instance(maxParallelism, n, i int) KeyGroups {
	return KeyGroups{(i*maxParallelism + n - 1) / n, ((i+1)*maxParallelism + n - 1) / n, maxParallelism}
}

// InstanceOf is the instance, of n, that owns the key group.
func InstanceOf(group, maxParallelism, n int) int { return group * n / maxParallelism }

// Contains says whether the group is in the range.
func (k KeyGroups) Contains(group int) bool { return k.Lo <= group && group < k.Hi }

// Meet is what both ranges have in common; ok is false if that is nothing.
func (k KeyGroups) Meet(o KeyGroups) (KeyGroups, bool) {
	m := KeyGroups{max(k.Lo, o.Lo), min(k.Hi, o.Hi), k.Max}
	return m, m.Lo < m.Hi && k.Max == o.Max
}

func (k KeyGroups) String() string { return fmt.Sprintf("[%d,%d) of %d", k.Lo, k.Hi, k.Max) }

func (k KeyGroups) orDefault() KeyGroups {
	if k == (KeyGroups{}) {
		return AllKeys(DefaultMaxParallelism)
	}
	return k
}

func (k KeyGroups) validate() error {
	if k.Max < 1 || k.Max > MaxKeyGroups || k.Lo < 0 || k.Lo >= k.Hi || k.Hi > k.Max {
		return fmt.Errorf("key groups %v: want 0 <= Lo < Hi <= Max <= %d", k, MaxKeyGroups)
	}
	return nil
}

// wide says that a key group takes two bytes.
func (k KeyGroups) wide() bool { return k.Max > 128 }

// appendGroup appends the prefix of a key group. The group Max gives the end of all groups.
func (k KeyGroups) appendGroup(dst []byte, group int) []byte {
	if k.wide() {
		return append(dst, byte(group>>8), byte(group))
	}
	return append(dst, byte(group))
}

// bounds are the first key of the range and the first key behind it.
func (k KeyGroups) bounds() (lower, upper []byte) {
	return k.appendGroup(nil, k.Lo), k.appendGroup(nil, k.Hi)
}
