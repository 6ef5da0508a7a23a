#!/usr/bin/env bash
# Shows ctctl at work on three firewalls that this script makes, in network namespaces of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release --bins
