package bytesize

import "testing"

func TestParse(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "17": 17, "500MB": 500e6, "20GiB": 20 << 30, "1.5 KiB": 1536, "3kb": 3000, "2tib": 2 << 40, "7B": 7} {
		if n, err := Parse(s); err != nil || n != want {
			t.Errorf("%q: %d, %v, want %d", s, n, err, want)
		}
	}
	for _, s := range []string{"", "GiB", "-1MB", "5XB", "NaN", "Inf", "1e40", "12 apples", "1MBMB", "9999999TiB"} {
		if n, err := Parse(s); err == nil {
			t.Errorf("%q: %d, want an error", s, n)
		}
	}
}
