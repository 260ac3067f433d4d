#!/usr/bin/env bash
# A RUSTC_WORKSPACE_WRAPPER: our own crates are built so that libFuzzer sees which of their branches ran. The flags
# are those of cargo-fuzz without its sanitizers, which need another compiler.
rustc=$1
shift
exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks
