package forstfs_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/local"
)

// Whatever is done with a URL that holds secrets, and however it fails: no error, no log line, no metric and no file shows them. The S3 driver's own
// part is in its package.
func TestInvariant9_SecretsStaySecret(t *testing.T) {
	const user, password, token = "AKIAFORSTEXAMPLE", "pa55-w0rd/+forst", "t0ken-of-forst"
	leak := func(what, text string) {
		t.Helper()
		for _, s := range []string{password, token, url.QueryEscape(password), url.PathEscape(password), base64.StdEncoding.EncodeToString([]byte(password))} {
			if strings.Contains(text, s) {
				t.Errorf("%s shows a secret: %s", what, text)
			}
		}
	}
	dir := t.TempDir()
	var log bytes.Buffer
	o := small()
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Listener = &forstfs.EventListener{
		Failed:   func(err error) { leak("Failed", err.Error()) },
		Retrying: func(what string, _ int, err error) { leak("Retrying", what+err.Error()) },
	}
	auth := url.UserPassword(user, password).String()
	for _, raw := range []string{
		"file://" + auth + "@" + dir,
		"file://" + auth + "@host" + dir,
		"file://" + dir + "?token=" + token,
		"file://" + dir + "#" + token,
		"s3://" + auth + "@bucket/vol?endpoint=http://127.0.0.1:1&region=x",
		"s3://bucket/vol?endpoint=http://" + auth + "@127.0.0.1:1&region=x",
		"s3://bucket/vol?endpoint=http://127.0.0.1:1&region=x&token=" + token,
		"s3://bucket/vol?endpoint=http://127.0.0.1:1&region=x&secret_key=" + url.QueryEscape(password),
		"gopher://" + auth + "@bucket/vol",
		"://" + auth + "@bucket",
		"s3://" + auth + "@bucket/\x7f",
		auth,
	} {
		for _, open := range []func(context.Context, string, *forstfs.Options) (*forstfs.FS, error){forst.Open, forst.OpenReadOnly} {
			stop, cancel := context.WithCancel(ctx)
			cancel() // no request leaves the machine
			v, err := open(stop, raw, o)
			if err != nil {
				leak("the error for "+strings.ReplaceAll(raw, password, "***"), err.Error())
				leak("the error in Go's syntax", fmt.Sprintf("%#v %+v", err, err))
				continue
			}
			leak("Name", v.Name())
			leak("Metrics", v.Metrics().String())
			must(t, v.Close())
		}
	}

	// A volume whose store and options hold secrets writes none of them down.
	t.Setenv("AWS_SECRET_ACCESS_KEY", password)
	t.Setenv("AWS_SESSION_TOKEN", token)
	s, err := local.Open(ctx, filepath.Join(dir, "vol"), &local.Options{Create: true})
	must(t, err)
	f := fault.New(s, nil)
	v, err := forstfs.Open(ctx, f, o)
	must(t, err)
	hidden := driver.NewSecret(password)
	f.Add(fault.Rule{Ops: []fault.Op{fault.Put}, Prefix: "data/", Times: 1, Do: fault.Fail(fmt.Errorf("signed with %v, %+v, %#v, %q", hidden, hidden, hidden, hidden))})
	busy(v, 3, func(err error) { t.Error(err) })
	leak("Metrics", v.Metrics().String())
	must(t, v.Close())
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		leak("file "+path, string(b))
		return err
	}))
	if leak("the log", log.String()); log.Len() == 0 {
		t.Error("nothing was logged: the check looks at nothing")
	}
}
