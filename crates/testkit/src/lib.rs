//! Development only: real guests, fault injectors, conformance suites
