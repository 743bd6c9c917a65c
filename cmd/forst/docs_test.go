package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/forst-go/forst/conformance"
)

var (
	caseName = regexp.MustCompile("`([a-z-]+/[^` ]+)`")
	testName = regexp.MustCompile("`([a-z0-9/]+): (Test[A-Za-z0-9_]+)`")
)

// TestAssumptions: every test that docs/assumptions.md names exists.
func TestAssumptions(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "assumptions.md"))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]bool{}
	for _, c := range conformance.StoreCases() {
		cases[c.Name] = true
	}
	var named int
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		for _, m := range caseName.FindAllStringSubmatch(line, -1) {
			named++
			if !cases[m[1]] {
				t.Errorf("there is no conformance case %s", m[1])
			}
		}
		for _, m := range testName.FindAllStringSubmatch(line, -1) {
			named++
			if !hasTest(t, filepath.Join(root, filepath.FromSlash(m[1])), m[2]) {
				t.Errorf("there is no %s in %s", m[2], m[1])
			}
		}
		id := strings.TrimSpace(strings.Split(line, "|")[1])
		if regexp.MustCompile(`^[ASLM]\d+$`).MatchString(id) && !strings.Contains(line, "`") && !strings.Contains(line, "not test") {
			t.Errorf("%s names no test and does not say why", id)
		}
	}
	if named < 40 {
		t.Errorf("only %d tests were found on the page: has its form changed?", named)
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), fmt.Sprintf("func %s(", name)) {
			return true
		}
	}
	return false
}

// TestLinks: every file that README.md and the pages of this command link to exists.
func TestLinks(t *testing.T) {
	root := filepath.Join("..", "..")
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	checked := 0
	for _, page := range []string{"README.md", "docs/cli.md", "docs/assumptions.md"} {
		b, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			checked++
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d links were found", checked)
	}
}
