package s3

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Warnings looks at the settings of the bucket that can break a volume later although nothing looks wrong today: lifecycle rules
// that expire or archive objects, Object Lock, versioning. It makes three requests at once, each tried once, and
// says nothing about what it may not read or what the store does not have.
func (s *Store) Warnings(ctx context.Context) []string {
	c := call{op: "open"}
	r, err := s.begin(ctx, c)
	if err != nil {
		return nil
	}
	defer r.end()
	looks := []func(context.Context) []string{s.lifecycle, s.objectLock, s.versioning}
	found := make([][]string, len(looks))
	var wg sync.WaitGroup
	for i, look := range looks {
		wg.Go(func() {
			a := newAttempt(r.ctx, s.cfg.AttemptTimeout)
			defer a.end()
			found[i] = look(a.ctx)
		})
	}
	wg.Wait()
	var all []string
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

func (s *Store) lifecycle(ctx context.Context) (all []string) {
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: aws.String(s.cfg.Bucket)})
	if err != nil {
		return nil
	}
	for _, rule := range out.Rules {
		if rule.Status != types.ExpirationStatusEnabled || !s.concerns(rule) {
			continue
		}
		// Rules for old versions, deletion markers and broken uploads do no harm.
		if e := rule.Expiration; e != nil && (aws.ToInt32(e.Days) > 0 || e.Date != nil) {
			all = append(all, fmt.Sprintf("lifecycle rule %q of bucket %s deletes objects by age: it would delete parts of the volume; "+
				"limit the rule to other prefixes", aws.ToString(rule.ID), s.cfg.Bucket))
		}
		for _, t := range rule.Transitions {
			switch t.StorageClass {
			case types.TransitionStorageClassGlacier, types.TransitionStorageClassDeepArchive:
				all = append(all, fmt.Sprintf("lifecycle rule %q of bucket %s moves objects to %s: they could not be read any more; "+
					"limit the rule to other prefixes", aws.ToString(rule.ID), s.cfg.Bucket, t.StorageClass))
			}
		}
	}
	return all
}

// concerns reports whether a rule may apply to keys of the store. Filters by tag or size are taken to apply.
func (s *Store) concerns(rule types.LifecycleRule) bool {
	prefix := aws.ToString(rule.Prefix) //lint:ignore SA1019 rules made long ago still have it
	if f := rule.Filter; f != nil {
		prefix = aws.ToString(f.Prefix)
		if f.And != nil {
			prefix = aws.ToString(f.And.Prefix)
		}
	}
	mine := s.full("")
	return strings.HasPrefix(mine, prefix) || strings.HasPrefix(prefix, mine)
}

func (s *Store) objectLock(ctx context.Context) []string {
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: aws.String(s.cfg.Bucket)})
	if err != nil || out.ObjectLockConfiguration == nil || out.ObjectLockConfiguration.Rule == nil || out.ObjectLockConfiguration.Rule.DefaultRetention == nil {
		return nil
	}
	return []string{fmt.Sprintf("bucket %s locks new objects (Object Lock, %s): what the volume deletes stays and is paid for until the lock ends",
		s.cfg.Bucket, out.ObjectLockConfiguration.Rule.DefaultRetention.Mode)}
}

func (s *Store) versioning(ctx context.Context) []string {
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: aws.String(s.cfg.Bucket)})
	if err != nil || out.Status != types.BucketVersioningStatusEnabled {
		return nil
	}
	return []string{fmt.Sprintf("bucket %s keeps old versions: what the volume deletes stays and is paid for, unless a lifecycle rule removes old versions", s.cfg.Bucket)}
}
