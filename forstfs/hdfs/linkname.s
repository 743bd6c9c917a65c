// Empty: with it the compiler accepts the function without a body in reach.go.
