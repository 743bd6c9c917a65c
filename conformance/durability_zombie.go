package conformance

var zombieCases []DurabilityCase
