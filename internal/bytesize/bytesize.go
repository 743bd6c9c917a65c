// Package bytesize reads sizes as people write them: 500MB, 20GiB.
package bytesize

import (
	"fmt"
	"strconv"
	"strings"
)

var units = map[string]float64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}

// Parse gives the number of bytes, up to 2^60. Units are B, KB, MB, GB, TB and KiB, MiB, GiB, TiB, in any case; none means bytes.
func Parse(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTPiBkmgtb ")
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := units[strings.ToUpper(strings.TrimSpace(s[len(digits):]))]
	if err != nil || !ok || !(n >= 0 && n*unit <= 1<<60) {
		return 0, fmt.Errorf("%q: give a number of bytes with a unit, as 500MB or 20GiB", s)
	}
	return int64(n * unit), nil
}
