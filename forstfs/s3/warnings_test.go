package s3_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/probe"
)

var _ probe.Warner = (*s3.Store)(nil)

// settings serves the settings of a bucket; an empty one is refused.
type settings struct{ lifecycle, lock, versioning string }

func (b settings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, xml := range map[string]string{"lifecycle": b.lifecycle, "object-lock": b.lock, "versioning": b.versioning} {
		if r.URL.Query().Has(name) && xml != "" {
			fmt.Fprint(w, xml)
			return
		}
	}
	refuse(http.StatusForbidden, "AccessDenied")(w, r)
}

func TestWarnings(t *testing.T) {
	rule := func(status, filter, action string) string {
		return "<LifecycleConfiguration><Rule><ID>r1</ID><Status>" + status + "</Status>" + filter + action + "</Rule></LifecycleConfiguration>"
	}
	const (
		all     = "<Filter></Filter>"
		expire  = "<Expiration><Days>30</Days></Expiration>"
		glacier = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"
		colder  = "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"
	)
	for _, tc := range []struct {
		name string
		b    settings
		want string
	}{
		{"nothing may be read", settings{}, ""},
		{"expires all", settings{lifecycle: rule("Enabled", all, expire)}, `rule "r1" of bucket bucket deletes objects`},
		{"expires by date", settings{lifecycle: rule("Enabled", all, "<Expiration><Date>2027-01-01T00:00:00Z</Date></Expiration>")}, "deletes objects"},
		{"disabled", settings{lifecycle: rule("Disabled", all, expire)}, ""},
		{"other prefix", settings{lifecycle: rule("Enabled", "<Filter><Prefix>logs/</Prefix></Filter>", expire)}, ""},
		{"prefix above", settings{lifecycle: rule("Enabled", "<Filter><Prefix>vo</Prefix></Filter>", expire)}, "deletes objects"},
		{"prefix below", settings{lifecycle: rule("Enabled", "<Filter><And><Prefix>vol/data/</Prefix></And></Filter>", expire)}, "deletes objects"},
		{"old form of the prefix", settings{lifecycle: rule("Enabled", "<Prefix>logs/</Prefix>", expire)}, ""},
		{"old versions only", settings{lifecycle: rule("Enabled", all, "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>")}, ""},
		{"markers only", settings{lifecycle: rule("Enabled", all, "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>")}, ""},
		{"archives", settings{lifecycle: rule("Enabled", all, glacier)}, "moves objects to GLACIER"},
		{"cheaper but readable", settings{lifecycle: rule("Enabled", all, colder)}, ""},
		{"locks", settings{lock: "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>9</Days></DefaultRetention></Rule></ObjectLockConfiguration>"}, "COMPLIANCE"},
		{"could lock", settings{lock: "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"}, ""},
		{"could lock, by a rule without a period", settings{lock: "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule></Rule></ObjectLockConfiguration>"}, ""},
		{"says nothing of locks", settings{lock: "<Other></Other>"}, ""},
		{"versions", settings{versioning: "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"}, "old versions"},
		{"no more versions", settings{versioning: "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(tc.b)
			defer srv.Close()
			got := (&fake{Server: srv}).store(t, nil).Warnings(t.Context())
			if tc.want == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || tc.want == "" || !strings.Contains(got[0], tc.want) {
				t.Errorf("got %q, want one with %q", got, tc.want)
			}
		})
	}
}

// TestProbe: a real server passes the probe that creation makes, without a warning.
func TestProbe(t *testing.T) {
	s := open(t, nil)
	report, err := probe.Probe(t.Context(), s)
	if err != nil || len(report.Warnings) != 0 || report.Requests > probe.MaxRequests {
		t.Errorf("%+v, %v", report, err)
	}
	if left, err := driver.ListAll(t.Context(), s, "", ""); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
