package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/forst-go/forst/forstfs/driver"
)

// ResponseError is the cause of a driver.Error when the store answered. It holds no secret.
type ResponseError struct {
	Status    int    // HTTP
	Code      string // S3's error code, for example "AccessDenied"; empty if the answer had none
	Message   string // the store's own words
	RequestID string // for the store's operator
	Hint      string // what to do
}

func (e *ResponseError) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	if e.Code == "" {
		b.WriteString("no error code")
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	fmt.Fprintf(&b, " (HTTP %d", e.Status)
	if e.RequestID != "" {
		b.WriteString(", request " + e.RequestID)
	}
	b.WriteString(")")
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

// failure is the classification of one failed attempt.
type failure struct {
	kind     driver.Kind
	err      error
	attempts int           // attempts that make sense in all; 0: until the deadline; 1: do not repeat
	slow     bool          // the store asked to slow down
	after    time.Duration // the store said when
}

var (
	errClosed  = errors.New("the store was closed")
	errTimeout = errors.New("no answer in time")
)

// credentialsError marks a failure to get credentials, as opposed to a refusal of them.
type credentialsError struct {
	err       error
	refreshed bool // there were good credentials before: the source is down for the moment
}

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// answerError says that a well-formed answer is not the right one.
type answerError struct {
	kind  driver.Kind
	text  string
	final bool // asking again gives the same
}

func (e *answerError) Error() string { return e.text }

// classify turns what the SDK returned for one attempt into a kind and a decision. It is only called while the caller's
// context is alive, so a context error in err is the attempt's own timeout and must not be taken for the caller's.
func classify(err error) failure {
	var (
		cred   *credentialsError
		answer *answerError
		perKey *keyError
		resp   *smithyhttp.ResponseError
		api    smithy.APIError
	)
	switch {
	case errors.As(err, &cred):
		return classifyCredentials(cred)
	case errors.As(err, &answer):
		if answer.final {
			return failure{kind: answer.kind, err: answer, attempts: 1}
		}
		return failure{kind: answer.kind, err: answer, attempts: 3}
	case errors.As(err, &perKey):
		f := perKey.failure
		f.err = perKey
		if f.kind == driver.KindOther { // an unknown code below an HTTP 200: some stores have InternalErrors of their own name
			f.attempts = 3
		}
		return f
	case errors.As(err, &resp) && resp.HTTPStatusCode() != 0: // the SDK makes up an empty answer where there was none
		r := &ResponseError{Status: resp.HTTPStatusCode()}
		var header http.Header
		if resp.Response != nil && resp.Response.Response != nil {
			header = resp.Response.Header
		}
		if errors.As(err, &api) {
			r.Code, r.Message = api.ErrorCode(), clip(api.ErrorMessage())
		}
		r.RequestID = header.Get("x-amz-request-id")
		if r.Status/100 == 2 {
			// The answer began well and could not be read to its end, or is not S3's.
			return failure{kind: driver.KindTransient, err: plain(err)}
		}
		return classifyResponse(r, header)
	}
	return classifyTransport(err)
}

// classifyResponse decides by S3's code first and by the HTTP status where there is no known code.
func classifyResponse(r *ResponseError, header http.Header) failure {
	f := failure{kind: driver.KindOther, err: r, attempts: 1}
	final := func(k driver.Kind, hint string) failure {
		f.kind, r.Hint = k, hint
		return f
	}
	again := func(k driver.Kind, attempts int) failure {
		f.kind, f.attempts = k, attempts
		if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
			f.after = time.Duration(s) * time.Second
		}
		return f
	}
	switch r.Code {
	case "NoSuchKey":
		return final(driver.KindNotExist, "")
	case "NoSuchBucket":
		// Some stores say so for a moment while their own metadata moves; a missing bucket stays missing.
		r.Hint = "create the bucket, or correct its name; forst never creates one"
		return again(driver.KindNoStore, 3)
	case "InvalidBucketName", "AllAccessDisabled":
		return final(driver.KindNoStore, "correct the name of the bucket")
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		if region := header.Get("x-amz-bucket-region"); region != "" {
			return final(driver.KindNoStore, "the bucket is in region "+region+": open it with region="+region)
		}
		return final(driver.KindNoStore, "the bucket is in another region: open it with the right region")
	case "PreconditionFailed":
		return final(driver.KindExist, "")
	case "ConditionalRequestConflict", "OperationAborted":
		return again(driver.KindTransient, 0)
	case "InvalidRange":
		return final(driver.KindRange, "")
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		// The SDK learns the server's time from this very answer and signs the next attempt with it.
		r.Hint = "the clock of this machine is off: set it (NTP)"
		return again(driver.KindPermission, 2)
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired":
		return final(driver.KindPermission, "the session token is no longer valid: get new credentials")
	case "SignatureDoesNotMatch":
		return final(driver.KindPermission, "the secret key is wrong, or a proxy changed the request")
	case "InvalidAccessKeyId":
		return final(driver.KindPermission, "the store does not know this access key")
	case "AccessDenied", "AccountProblem", "NotSignedUp", "UnauthorizedAccess":
		return final(driver.KindPermission, "these credentials need s3:GetObject, s3:PutObject, s3:DeleteObject on the prefix and s3:ListBucket on the bucket")
	case "InvalidObjectState":
		return final(driver.KindOther, "the object was moved to an archive: a lifecycle rule must not touch a volume")
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody":
		return again(driver.KindCorrupt, 4)
	case "RequestTimeout", "InternalError":
		return again(driver.KindTransient, 0)
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable",
		"BandwidthLimitExceeded", "KMS.ThrottlingException", "TooManyRequests", "XMinioServerNotInitialized":
		f.slow = true
		return again(driver.KindTransient, 0)
	case "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded":
		return final(driver.KindNoSpace, "the store is full")
	case "XMinioParentIsObject", "XMinioObjectExistsAsDirectory":
		return final(driver.KindInvalid, "a key must not be a /-prefix of another key")
	case "NotImplemented", "MethodNotAllowed":
		return final(driver.KindUnsupported, "the store does not have this operation or this condition")
	}
	if strings.HasPrefix(r.Code, "KMS.") {
		return final(driver.KindPermission, "the KMS key refuses: check its state and policy")
	}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return final(driver.KindPermission, "")
	case http.StatusPreconditionFailed:
		return final(driver.KindExist, "")
	case http.StatusRequestedRangeNotSatisfiable:
		return final(driver.KindRange, "")
	case http.StatusMovedPermanently:
		return final(driver.KindNoStore, "the bucket is in another region: open it with the right region")
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTemporaryRedirect:
		return again(driver.KindTransient, 0)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.slow = true
		return again(driver.KindTransient, 0)
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return final(driver.KindUnsupported, "the store does not have this operation or this condition")
	case http.StatusInsufficientStorage:
		return final(driver.KindNoSpace, "the store is full")
	}
	if r.Status >= 500 {
		return again(driver.KindTransient, 0)
	}
	// A 404 without S3's code may come from a proxy or a wrong endpoint: it proves nothing about the object.
	return f
}

func classifyCredentials(e *credentialsError) failure {
	if e.refreshed {
		return failure{kind: driver.KindTransient, err: fmt.Errorf("renewing credentials: %s", clip(e.Error()))}
	}
	return failure{kind: driver.KindPermission, attempts: 1, err: fmt.Errorf(
		"no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or give the machine a role (%s)", clip(e.Error()))}
}

// classifyTransport handles everything below HTTP. All of it may pass, but for certificates.
func classifyTransport(err error) failure {
	var (
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		dns     *net.DNSError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &cert), errors.As(err, &unknown):
		return failure{kind: driver.KindOther, attempts: 1, err: fmt.Errorf("the server's certificate is not trusted: name its authority with ca=FILE (%w)", plain(err))}
	case errors.As(err, &record):
		return failure{kind: driver.KindOther, attempts: 1, err: fmt.Errorf("the server does not speak TLS: is the endpoint http:// instead of https:// (%w)", plain(err))}
	case errors.As(err, &dns) && dns.IsNotFound:
		return failure{kind: driver.KindTransient, attempts: 4, err: fmt.Errorf("no such host: correct the endpoint or the region (%w)", plain(err))}
	}
	return failure{kind: driver.KindTransient, err: plain(err)}
}

// plain keeps the text of err and cuts the chain where it would match a context error: the caller's context is alive, and what
// ended is an attempt of ours (a dial timeout, too, claims to be context.DeadlineExceeded).
func plain(err error) error {
	var op *net.OpError
	switch {
	case !driver.IsCanceled(err):
		if errors.As(err, &op) {
			return op // "dial tcp ...: connection refused", without five layers of SDK before it
		}
		return err
	case errors.As(err, &op):
		return errors.New(op.Error())
	}
	return errTimeout
}

// ended is the error of a call whose context is over: the caller's own, or the store's.
func ended(ctx context.Context) (driver.Kind, error) {
	if errors.Is(context.Cause(ctx), errClosed) {
		return driver.KindClosed, errClosed
	}
	return driver.KindOther, ctx.Err()
}

// clip bounds text that a server chose.
func clip(s string) string {
	const most = 400
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
