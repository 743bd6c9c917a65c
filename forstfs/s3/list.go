package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/forst-go/forst/forstfs/driver"
)

// List implements driver.Store: flat ListObjectsV2, one request per 1000 keys, sent when the caller gets there. Objects whose
// names are not legal keys (the "directory" markers of consoles, for example) are none of forst's and are left out.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		c := call{op: "list", key: prefix, bytes: 4 << 20} // a page is less, but costs some stores a walk through many more names
		if err := driver.CheckPrefix(prefix); err != nil {
			yield(driver.Info{}, s.fail(c, driver.KindInvalid, err))
			return
		}
		if err := driver.CheckPrefix(after); err != nil {
			yield(driver.Info{}, s.fail(c, driver.KindInvalid, fmt.Errorf("after: %w", err)))
			return
		}
		in := s3.ListObjectsV2Input{Bucket: aws.String(s.cfg.Bucket), Prefix: aws.String(s.full(prefix)), MaxKeys: aws.Int32(listPage)}
		if after != "" {
			in.StartAfter = aws.String(s.full(after))
		}
		last := after
		for {
			page, err := s.listPage(ctx, c, &in)
			if err != nil {
				yield(driver.Info{}, err)
				return
			}
			for _, o := range page.Contents {
				info := driver.Info{Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}
				var ok bool
				if info.Key, ok = s.ours(aws.ToString(o.Key)); !ok {
					continue
				}
				if info.Key <= last || !strings.HasPrefix(info.Key, prefix) {
					yield(driver.Info{}, s.fail(c, driver.KindCorrupt, fmt.Errorf(
						"the store lists %q after %q: lists must be in key order, behind the start and below the prefix", info.Key, last)))
					return
				}
				last = info.Key
				if !yield(info, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			token := aws.ToString(page.NextContinuationToken)
			if token == "" || token == aws.ToString(in.ContinuationToken) {
				yield(driver.Info{}, s.fail(c, driver.KindCorrupt, fmt.Errorf("the list goes on but its continuation token does not")))
				return
			}
			in.ContinuationToken = aws.String(token)
		}
	}
}

// listPage gets one page. Between pages nothing is held, so that a caller may stop, or take its time, anywhere.
func (s *Store) listPage(ctx context.Context, c call, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	r, err := s.begin(ctx, c)
	if err != nil {
		return nil, err
	}
	defer r.end()
	var out *s3.ListObjectsV2Output
	err = s.do(r.ctx, c, func(a *attempt) error {
		in := *in
		var err error
		out, err = s.client.ListObjectsV2(a.ctx, &in)
		return err
	})
	return out, err
}

// ours turns a key of the bucket into one of the store.
func (s *Store) ours(full string) (string, bool) {
	key := full
	if s.cfg.Prefix != "" {
		var ok bool
		if key, ok = strings.CutPrefix(full, s.cfg.Prefix+"/"); !ok {
			return "", false
		}
	}
	return key, driver.CheckKey(key) == nil
}
