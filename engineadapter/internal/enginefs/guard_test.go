package enginefs

import (
	"errors"
	"strings"
	"testing"
)

func TestGuards(t *testing.T) {
	for _, c := range []struct {
		names  string
		v1, v2 bool // refused
	}{
		{"", false, false},
		{"MANIFEST-000001 000002.log LOCK", false, false},
		{"000001.sst", true, true},
		{"OPTIONS-000003", true, true},
		{"000001.blob x.sst", true, true},
		{"some.sst", false, false},
		{"CURRENT 000001.sst", false, false},
		{"marker.manifest.000001.MANIFEST-000001 000001.sst", true, false}, // format 1 does not read markers
		{"CURRENT marker.format-version.000001.001 000001.sst", false, false},
		{"marker.manifest.000001.MANIFEST-000001 marker.format-version.000001.001 000001.sst", true, false},
		{"marker.manifest.000001.MANIFEST-000001 marker.format-version.000002.013 marker.format-version.000001.001 000001.sst", false, false},
		{"CURRENT marker.format-version.000002.013 marker.format-version.000001.001 000001.sst", true, false},
		{"marker.format-version.000001.013", true, true},
	} {
		for name, g := range map[string]struct {
			check func(string, []string) error
			want  bool
		}{"v1": {CheckCurrent, c.v1}, "v2": {CheckMarker, c.v2}} {
			if err := g.check("/db", strings.Fields(c.names)); errors.Is(err, ErrNoManifestMarker) != g.want || (err != nil) != g.want {
				t.Errorf("%s, %q: %v", name, c.names, err)
			}
		}
	}
}
