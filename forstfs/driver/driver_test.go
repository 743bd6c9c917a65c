package driver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/forst-go/forst/forstfs/driver"
)

var keyTests = []struct {
	key   string
	legal bool
}{
	{"a", true}, {"a/b", true}, {"A-Z_0.9=+@~,", true}, {"a..b", true}, {"a.", true}, {strings.Repeat("k", 200), true},
	{strings.Repeat("k/", 255) + "kk", true}, {"-", true}, {"~/x", true},
	{"", false}, {"/", false}, {"/a", false}, {"a/", false}, {"a//b", false}, {".", false}, {"..", false}, {".a", false},
	{"a/.b", false}, {"a/../b", false}, {"a b", false}, {"a\x00", false}, {"a\n", false}, {"ä", false}, {"\xff", false},
	{"a%2f", false}, {"a*", false}, {"a?", false}, {"a#", false}, {"a\\b", false}, {"a:b", false}, {"{}", false},
	{strings.Repeat("k", 201), false}, {strings.Repeat("k/", 256) + "k", false},
}

func TestCheckKey(t *testing.T) {
	for _, tt := range keyTests {
		if err := driver.CheckKey(tt.key); (err == nil) != tt.legal {
			t.Errorf("CheckKey(%q) = %v, want legal %t", tt.key, err, tt.legal)
		}
	}
}

func TestCheckPrefix(t *testing.T) {
	for _, tt := range keyTests {
		if !tt.legal {
			continue
		}
		for i := range len(tt.key) + 1 {
			if err := driver.CheckPrefix(tt.key[:i]); err != nil {
				t.Errorf("CheckPrefix(%q) = %v, but %q is legal", tt.key[:i], err, tt.key)
			}
		}
	}
	for _, p := range []string{"/", "/a", "a//", "a//b", "a b", "ä", strings.Repeat("p", driver.MaxKey+1)} {
		if driver.CheckPrefix(p) == nil {
			t.Errorf("CheckPrefix(%q) is nil", p)
		}
	}
}

// FuzzCheckKey checks what every driver relies on: a legal key is safe as a path and as a URL, and so are its beginnings.
func FuzzCheckKey(f *testing.F) {
	for _, tt := range keyTests {
		f.Add(tt.key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if driver.CheckKey(key) != nil {
			return
		}
		if !fs.ValidPath(key) || key == "." {
			t.Errorf("%q is legal and no valid path", key)
		}
		if u, err := url.Parse("s3://bucket/" + key); err != nil || u.Path != "/"+key || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q is legal and changes in a URL: %v, %v", key, u, err)
		}
		if len(key) > driver.MaxKey || strings.HasPrefix(key, ".") || strings.Contains(key, "/.") {
			t.Errorf("%q is legal", key)
		}
		for i := range len(key) {
			if err := driver.CheckPrefix(key[:i]); err != nil {
				t.Errorf("%q is legal, and its beginning is not: %v", key, err)
			}
		}
	})
}

func TestSecretNeverShows(t *testing.T) {
	const plain = "hunter2secret"
	secret := driver.NewSecret(plain)
	type config struct {
		Name string
		Key  driver.Secret
		deep *driver.Secret
		all  []driver.Secret
		m    map[string]driver.Secret
		any  any
	}
	c := config{"n", secret, &secret, []driver.Secret{secret}, map[string]driver.Secret{"k": secret}, secret}
	var texts []string
	for _, v := range []any{secret, &secret, c, &c, []any{c, secret}, map[string]any{"k": c}, struct{ driver.Secret }{secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
		if b, err := json.Marshal(v); err == nil {
			texts = append(texts, string(b))
		}
		texts = append(texts, fmt.Errorf("with %v", v).Error())
		for _, h := range []func(io.Writer) slog.Handler{
			func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
			func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		} {
			var b bytes.Buffer
			slog.New(h(&b)).Info("msg", "value", v)
			texts = append(texts, b.String())
		}
	}
	hex := fmt.Sprintf("%x", plain)
	for _, text := range texts {
		if strings.Contains(text, plain) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("the secret shows: %s", text)
		}
	}
	if secret.Reveal() != plain || secret.Empty() {
		t.Errorf("Reveal gives %q, Empty %t", secret.Reveal(), secret.Empty())
	}
	if s := fmt.Sprint(secret); s != "***" {
		t.Errorf("a secret prints as %q", s)
	}
	var none driver.Secret
	if !none.Empty() || none.Reveal() != "" || fmt.Sprint(none) != "" {
		t.Errorf("the zero Secret is %q", none)
	}
}

func TestRegistry(t *testing.T) {
	ctx := context.Background()
	var r driver.Registry
	if _, err := r.Open(ctx, "s3://b/p"); driver.KindOf(err) != driver.KindInvalid {
		t.Errorf("an empty registry: %v", err)
	}
	var got *url.URL
	open := func(_ context.Context, u *url.URL) (driver.Store, error) { got = u; return nil, nil }
	r.Register("s3", open)
	r.Register("file", open)
	if s := fmt.Sprint(r.Schemes()); s != "[file s3]" {
		t.Errorf("Schemes: %s", s)
	}
	if _, err := r.Open(ctx, "s3://bucket/a/b?region=x"); err != nil || got.Host != "bucket" || got.Path != "/a/b" || got.RawQuery != "region=x" {
		t.Errorf("%v %v", got, err)
	}
	for raw, want := range map[string]string{
		"hdfs://nn/p":                 "known schemes: file, s3",
		"/some/dir":                   "file:///path",
		"s4://user:hunter2@host/p":    "unknown scheme",
		"s3://user:hunter2@h/%zz":     "not a URL",
		"//user:hunter2@host/p":       "no scheme",
		"s3://us er:hunter2@host:x/p": "not a URL",
	} {
		_, err := r.Open(ctx, raw)
		if driver.KindOf(err) != driver.KindInvalid || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestErrorsMatchSentinels(t *testing.T) {
	sentinels := []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed, errors.ErrUnsupported}
	want := map[driver.Kind]error{
		driver.KindNotExist: fs.ErrNotExist, driver.KindExist: fs.ErrExist, driver.KindPermission: fs.ErrPermission,
		driver.KindInvalid: fs.ErrInvalid, driver.KindRange: fs.ErrInvalid, driver.KindClosed: fs.ErrClosed,
		driver.KindUnsupported: errors.ErrUnsupported,
	}
	cause := errors.New("the cause")
	for k := driver.KindOther; k <= driver.KindNoSpace; k++ {
		err := fmt.Errorf("above: %w", &driver.Error{Op: "get", Path: "s3://b/k", Kind: k, Err: cause})
		for _, s := range sentinels {
			if errors.Is(err, s) != (want[k] == s) {
				t.Errorf("kind %v matches %v: %t", k, s, errors.Is(err, s))
			}
		}
		if driver.KindOf(err) != k || !errors.Is(err, cause) {
			t.Errorf("kind %v: KindOf gives %v, cause %t", k, driver.KindOf(err), errors.Is(err, cause))
		}
		if text := err.Error(); !strings.Contains(text, "get s3://b/k: "+k.String()+": the cause") {
			t.Errorf("text: %s", text)
		}
		if k.String() == "" || strings.HasPrefix(k.String(), "kind ") {
			t.Errorf("kind %d has no name", k)
		}
	}
	if s := driver.Kind(200).String(); s != "kind 200" {
		t.Errorf("unknown kind: %s", s)
	}
	if s := (&driver.Error{Op: "put", Path: "p", Kind: driver.KindExist}).Error(); s != "put p: exists" {
		t.Errorf("without a cause: %s", s)
	}
	if driver.KindOf(nil) != driver.KindOther || driver.KindOf(cause) != driver.KindOther {
		t.Error("KindOf of foreign errors")
	}
	for err, want := range map[error]bool{context.Canceled: true, context.DeadlineExceeded: true, cause: false} {
		if driver.IsCanceled(&driver.Error{Err: err}) != want {
			t.Errorf("IsCanceled(%v) is not %t", err, want)
		}
	}
}

// TestKindDecidesAboutSentinels: what the operating system said below an error must not turn it into another one.
func TestKindDecidesAboutSentinels(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}
	err := error(&driver.Error{Op: "get", Kind: driver.KindNoStore, Err: fmt.Errorf("%w: %w", cause, context.Canceled)})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(fmt.Errorf("above: %w", err), fs.ErrNotExist) {
		t.Error("a missing root matches fs.ErrNotExist")
	}
	var pe *fs.PathError
	if !errors.Is(err, context.Canceled) || !errors.Is(err, syscall.ENOENT) || !errors.As(err, &pe) || !strings.Contains(err.Error(), "open /x") {
		t.Errorf("the rest of the cause is gone: %v", err)
	}
	if err := error(&driver.Error{Kind: driver.KindNotExist, Err: cause}); !errors.Is(err, fs.ErrNotExist) || errors.Unwrap(err) != error(cause) {
		t.Errorf("a cause that agrees is changed: %v", err)
	}
	for _, s := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed} {
		if err := error(&driver.Error{Kind: driver.KindTransient, Err: s}); errors.Is(err, s) {
			t.Errorf("a transient error matches %v", s)
		}
	}
}

func TestComponent(t *testing.T) {
	ctx := context.Background()
	if c := driver.ComponentOf(ctx); c != driver.CompOther {
		t.Errorf("without a mark: %q", c)
	}
	ctx = driver.WithComponent(driver.WithComponent(ctx, driver.CompRead), driver.CompGC)
	if c := driver.ComponentOf(ctx); c != driver.CompGC {
		t.Errorf("the last mark counts, got %q", c)
	}
}

// stub is a store that gives what it is told.
type stub struct {
	driver.Store
	body io.Reader
	err  error
	list []driver.Info
}

func (s stub) Get(context.Context, string, int64, int64) (io.ReadCloser, error) {
	if s.body == nil {
		return nil, s.err
	}
	return io.NopCloser(s.body), nil
}

func (s stub) List(context.Context, string, string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		for _, i := range s.list {
			if !yield(i, nil) {
				return
			}
		}
		if s.err != nil {
			yield(driver.Info{}, s.err)
		}
	}
}

type wrapper struct{ driver.Store }

func (w wrapper) Unwrap() driver.Store { return w.Store }

type copying struct{ driver.Store }

func (copying) Copy(context.Context, string, string) error { return nil }

func TestAs(t *testing.T) {
	if _, ok := driver.As[driver.Copier](wrapper{wrapper{stub{}}}); ok {
		t.Error("a Copier is found where none is")
	}
	if _, ok := driver.As[driver.Copier](wrapper{wrapper{copying{stub{}}}}); !ok {
		t.Error("a Copier below two wrappers is not found")
	}
	if w, ok := driver.As[wrapper](wrapper{wrapper{stub{}}}); !ok || w.Unwrap().(wrapper).Store.(stub).err != nil {
		t.Error("the outermost one does not come first")
	}
	if _, ok := driver.As[driver.Copier](copying{stub{}}); !ok {
		t.Error("the store itself is not asked")
	}
	if _, ok := driver.As[driver.Copier](nil); ok {
		t.Error("nil is a Copier")
	}
}

func TestReadFullAndReadAll(t *testing.T) {
	ctx := context.Background()
	broken := errors.New("broken")
	transient := &driver.Error{Op: "get", Kind: driver.KindTransient, Err: broken}
	for _, tt := range []struct {
		name string
		s    stub
		want driver.Kind // KindOther: success
	}{
		{"exact", stub{body: strings.NewReader("1234")}, driver.KindOther},
		{"byte by byte", stub{body: iotest.OneByteReader(strings.NewReader("1234"))}, driver.KindOther},
		{"short", stub{body: strings.NewReader("123")}, driver.KindCorrupt},
		{"empty", stub{body: strings.NewReader("")}, driver.KindCorrupt},
		{"cut", stub{body: io.MultiReader(strings.NewReader("123"), iotest.ErrReader(io.ErrUnexpectedEOF))}, driver.KindCorrupt},
		{"broken", stub{body: iotest.ErrReader(broken)}, driver.KindTransient},
		{"classified", stub{body: iotest.ErrReader(transient)}, driver.KindTransient},
		{"not opened", stub{err: &driver.Error{Kind: driver.KindNotExist}}, driver.KindNotExist},
	} {
		data := []byte("xxxx")
		err := driver.ReadFull(ctx, tt.s, "k", 0, data)
		if driver.KindOf(err) != tt.want || (err == nil) != (tt.want == driver.KindOther) {
			t.Errorf("%s: ReadFull: %v, want kind %v", tt.name, err, tt.want)
		} else if err == nil && string(data) != "1234" {
			t.Errorf("%s: ReadFull gives %q", tt.name, data)
		}
	}
	if data, err := driver.ReadAll(ctx, stub{body: strings.NewReader("1234")}, "k"); err != nil || string(data) != "1234" {
		t.Errorf("ReadAll: %q, %v", data, err)
	}
	for _, end := range []error{io.ErrUnexpectedEOF, broken, transient, context.Canceled} {
		s := stub{body: io.MultiReader(strings.NewReader("123"), iotest.ErrReader(end))}
		data, err := driver.ReadAll(ctx, s, "k")
		if data != nil || !errors.Is(err, end) {
			t.Errorf("ReadAll with %v: %q, %v", end, data, err)
		}
	}
	if err := driver.ReadFull(ctx, stub{err: broken}, "k", 0, nil); err != nil {
		t.Errorf("ReadFull of nothing asks the store: %v", err)
	}
}

func TestListAll(t *testing.T) {
	ctx := context.Background()
	list := []driver.Info{{Key: "a"}, {Key: "b"}}
	if got, err := driver.ListAll(ctx, stub{list: list}, "", ""); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	broken := errors.New("broken")
	if got, err := driver.ListAll(ctx, stub{list: list, err: broken}, "", ""); got != nil || err != broken {
		t.Errorf("a list that breaks off gives %v, %v", got, err)
	}
}
