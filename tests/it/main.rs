//! All integration tests in one binary: linking is the test time.

#![expect(clippy::print_stdout, reason = "seeds are printed")]

mod support;

mod adr;
mod bad_entries;
mod bad_input;
mod buckets;
mod chaos;
mod cli;
mod clocks;
mod crash;
mod excludes;
mod explain;
mod full_disk;
mod given_ids;
mod http;
mod http_ends;
mod http_forms;
mod http_metrics;
mod http_once;
mod http_spec;
mod http_tasks;
mod identity;
mod journal;
mod laws;
mod layers;
mod lease;
mod limits;
mod listing;
mod mount_points;
mod mounts;
mod moves;
mod order;
mod pages;
mod people;
mod people_keys;
mod postgres;
mod privacy;
mod proven;
mod races;
mod readme;
mod redirects;
mod restore;
mod restore_cancelled;
mod revived;
mod script;
mod seaweedfs;
mod settings;
mod share_links;
mod silence;
mod task_rows;
mod undo;
mod undone_moves;
mod walls;
mod worlds;
