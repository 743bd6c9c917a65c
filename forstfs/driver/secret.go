package driver

import "log/slog"

// Secret is a string that never shows itself: not in %v, %#v, JSON, logs or errors. Reveal gives it to the one place
// that needs it.
type Secret struct{ s *string } // a pointer: fmt does not follow it inside other structs

// NewSecret hides s.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

// Empty reports whether there is nothing to hide.
func (s Secret) Empty() bool { return s.Reveal() == "" }

func (s Secret) String() string               { return s.mask() }
func (s Secret) GoString() string             { return s.mask() }
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.mask()), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(s.mask()) }

func (s Secret) mask() string {
	if s.Empty() {
		return ""
	}
	return "***"
}
