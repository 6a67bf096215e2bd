# Sourced by ./headsup and ./test: installs what is missing, and says so.

say() { printf 'headsup: %s\n' "$*" >&2; }

# need COMMAND PACKAGE...: Debian packages, if the command is not there.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    command=$1; shift
    say "$command is missing; installing $*"
    if ! command -v apt-get >/dev/null 2>&1; then
        say "there is no apt-get here; install $command by hand"; exit 1
    fi
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq >&2 && $sudo apt-get install -y -qq --no-install-recommends "$@" >&2
}

need_rust() {
    if ! command -v cargo >/dev/null 2>&1; then
        [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null 2>&1; then
        say "cargo is missing; install Rust 1.94 or newer as https://rustup.rs says, then call this again"; exit 1
    fi
    need cc gcc libc6-dev
    case $(uname -m) in
    x86_64)
        if ! grep -qw avx2 /proc/cpuinfo; then
            say "this CPU has no AVX2; remove the rustflags in .cargo/config.toml and call this again"; exit 1
        fi ;;
    esac
}

# Two ClickHouses for the tests, named to them by the environment. The engine of today is a
# library in an npm package, fetched once; the old server is Debian's, installed and not
# started. What is not to be had here is left out, and the tests say so.
need_clickhouse() {
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/clickhouse"
    if [ -z "${HEADSUP_TEST_CHDB:-}" ] && [ "$(uname -sm)" = "Linux x86_64" ]; then
        HEADSUP_TEST_CHDB=$cache/libchdb-26.7.3.so; export HEADSUP_TEST_CHDB
        if [ ! -f "$HEADSUP_TEST_CHDB" ]; then
            need npm npm
            say "fetching the ClickHouse engine for the tests: 178 MB, once"
            mkdir -p "$cache"
            fetched=$(mktemp -d "$cache/fetching.XXXXXX")
            (cd "$fetched" && npm pack --silent @chdb/lib-linux-x64-gnu@26.7.3-stable.1 >/dev/null &&
                echo "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad  chdb-lib-linux-x64-gnu-26.7.3-stable.1.tgz" | sha256sum -c --quiet &&
                tar -xzf ./*.tgz package/libchdb.so && mv package/libchdb.so "$HEADSUP_TEST_CHDB")
            rm -r "$fetched"
        fi
    fi
    if [ -z "${HEADSUP_TEST_CLICKHOUSE_SERVER:-}" ]; then
        server=/usr/sbin/clickhouse-server
        if [ ! -x "$server" ] && command -v apt-get >/dev/null 2>&1; then
            sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
            not_started
            (need "$server" clickhouse-server) || say "Debian's old ClickHouse is not to be had here"
            may_start
        fi
        if [ -x "$server" ]; then
            HEADSUP_TEST_CLICKHOUSE_SERVER=$server; export HEADSUP_TEST_CLICKHOUSE_SERVER
        fi
    fi
}

# XGBoost to link and onnxruntime to load, for the feature `train`: the libraries of two PyPI
# packages, fetched once; libclang reads XGBoost's header at compile time.
need_models() {
    models="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/models"
    if [ -z "${XGBOOST_LIB_DIR:-}" ] || [ -z "${ORT_DYLIB_PATH:-}" ]; then
        if [ ! -f "$models/done" ]; then
            need python3 python3
            python3 -m pip --version >/dev/null 2>&1 || need pip3 python3-pip
            need unzip unzip
            say "fetching XGBoost and onnxruntime: 29 MB, once"
            mkdir -p "$models"
            fetched=$(mktemp -d "$models/fetching.XXXXXX")
            (cd "$fetched" && python3 -m pip download -q --no-deps --only-binary :all: xgboost-cpu==3.2.0 onnxruntime==1.31.1 >&2 &&
                unzip -qj xgboost_cpu-*.whl '*.so' '*.so.*' && unzip -qj onnxruntime-*.whl 'onnxruntime/capi/libonnxruntime.so*' &&
                mv libxgboost.so libgomp-*.so* "$models" && mv libonnxruntime.so.* "$models/libonnxruntime.so") ||
                { rm -r "$fetched"; say "XGBoost and onnxruntime cannot be fetched from PyPI"; return 1; }
            rm -r "$fetched"
            : >"$models/done"
        fi
        XGBOOST_LIB_DIR=$models; ORT_DYLIB_PATH=$models/libonnxruntime.so
        export XGBOOST_LIB_DIR ORT_DYLIB_PATH
    fi
    LD_LIBRARY_PATH=$XGBOOST_LIB_DIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; export LD_LIBRARY_PATH
    if [ ! -e /usr/lib/x86_64-linux-gnu/libclang-14.so.1 ] && ! ls /usr/lib/llvm-*/lib/libclang*.so.1 >/dev/null 2>&1; then
        need libclang.so libclang1-14
    fi
    # libclang comes without the compiler's own headers.
    BINDGEN_EXTRA_CLANG_ARGS=${BINDGEN_EXTRA_CLANG_ARGS:--I$(cc -print-file-name=include)}; export BINDGEN_EXTRA_CLANG_ARGS
}

# Prometheus and Alertmanager for the tests, Debian's, installed and not started.
need_prometheus() {
    if [ -x /usr/bin/prometheus ] && [ -x /usr/bin/prometheus-alertmanager ]; then
        return
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        say "there is no apt-get here; the tests with Prometheus are left out"
        return
    fi
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    not_started
    (need /usr/bin/prometheus prometheus && need /usr/bin/prometheus-alertmanager prometheus-alertmanager) ||
        say "Prometheus is not to be had here; its tests are left out"
    may_start
}

# Debian starts what it installs, unless this file says no.
not_started() {
    policy=/usr/sbin/policy-rc.d; made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod 755 "$policy"; made=yes
    fi
}

may_start() {
    [ -z "$made" ] || $sudo rm "$policy"
}

# Checks that follow each other on one machine can share what they compile. Only
# they: cargo goes by the time of a file, and a clone that is older than what another
# clone has built would be taken for built.
share_target() {
    shared="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/target"
    if [ "${CI:-}" = true ] && [ -z "${CARGO_TARGET_DIR:-}" ] && [ -d "$shared" ]; then
        CARGO_TARGET_DIR=$shared; export CARGO_TARGET_DIR
    fi
    target=${CARGO_TARGET_DIR:-$root/target}
}
