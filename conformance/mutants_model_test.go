//go:build forstmutants

package conformance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/forst-go/forst/internal/testenv"
)

// TestModelVariants: every variant of the checked models that breaks is planted somewhere, or docs/testing.md says why it cannot exist in the code; and what the
// table there says is so: the bug is planted, and the case that it names is the one that must catch it.
func TestModelVariants(t *testing.T) {
	root, err := testenv.Root()
	must(t, err)
	rows := modelTable(t, filepath.Join(root, "docs", "testing.md"))
	all := allPlanted(t)
	broken := brokenVariants(t, filepath.Join(root, "docs", "model"))
	if len(broken) < 40 {
		t.Errorf("only %d variants found: are they declared in another way now?", len(broken))
	}
	for _, v := range broken {
		if len(rows[v]) == 0 {
			t.Errorf("docs/testing.md has no row for the variant %q of the model", v)
		}
	}
	planted := 0
	for v, rs := range rows {
		if !slices.Contains(broken, v) {
			t.Errorf("docs/testing.md has a row for %q, which is no variant that breaks", v)
		}
		for _, r := range rs {
			if r.mutant == "" {
				if len(r.catch) < 40 {
					t.Errorf("%s: neither planted nor a reason: %q", v, r.catch)
				}
				continue
			}
			planted++
			if _, ok := all[r.mutant]; !ok {
				t.Errorf("%s: %s is not planted anywhere", v, r.mutant)
			}
			if !catches(t, root, r.mutant, r.catch) {
				t.Errorf("%s: %q is not what must catch %s", v, r.catch, r.mutant)
			}
		}
	}
	t.Logf("%d variants that break, %d rows with a planted bug", len(broken), planted)
}

type modelRow struct{ mutant, catch string }

// modelTable reads the table whose first column is "variant of the model".
func modelTable(t *testing.T, path string) map[string][]modelRow {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	_, rest, ok := strings.Cut(string(b), "\n| variant of the model |")
	if !ok {
		t.Fatalf("%s has no table of the variants", path)
	}
	rows := map[string][]modelRow{}
	for line := range strings.Lines(rest[strings.IndexByte(rest, '\n')+1:]) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 5 {
			break
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if strings.HasPrefix(cells[1], "---") {
			continue
		}
		id := strings.Trim(cells[2], "`")
		if id == "none" {
			id = ""
		}
		for v := range strings.SplitSeq(cells[1], "; ") {
			rows[v] = append(rows[v], modelRow{id, strings.Trim(cells[3], "`")})
		}
	}
	return rows
}

// brokenVariants are the variants of the models that are expected to break, but for witnesses, as "model/name".
func brokenVariants(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	must(t, err)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		must(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 4 {
				return true
			}
			fun, ok := call.Fun.(*ast.Ident)
			name, want := text(call.Args[0]), text(call.Args[1])
			if !ok || name == "" || want == "" || want == "witness" {
				return true
			}
			model := fun.Name
			if model == "on" {
				model = "pack"
			}
			names = append(names, model+"/"+name)
			return true
		})
	}
	return names
}

// text is a string literal's value, or "".
func text(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(l.Value)
	return s
}

// catches reports whether the named case is one that must catch the bug: a row of mutantTable, a scenario of the journal, or a test of the bug's package that
// names it.
func catches(t *testing.T, root, id, by string) bool {
	t.Helper()
	if slices.ContainsFunc(mutantTable, func(r mutantRow) bool { return r.id == id && r.catch == by }) {
		return true
	}
	pkg, name, ok := strings.Cut(by, ": ")
	if !ok {
		return false
	}
	_, short, _ := strings.Cut(id, "/")
	tests, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	must(t, err)
	for _, file := range tests {
		b, err := os.ReadFile(file)
		must(t, err)
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, strconv.Quote(name)) && strings.Contains(line, strconv.Quote(short)) {
				return true
			}
		}
		if strings.Contains(string(b), "func "+name+"(") && allPlanted(t)[id] {
			return true
		}
	}
	return false
}
