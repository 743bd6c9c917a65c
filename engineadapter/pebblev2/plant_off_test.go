//go:build !forstmutants

package pebblev2_test

// plant does nothing: this build has no bugs to plant.
func plant(string) {}
