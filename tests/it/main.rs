//! All integration tests in one binary: linking is the test time.

mod support;
