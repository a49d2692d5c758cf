#!/usr/bin/env bash
# Installs what hwopt needs from the system: Python's venv module, a C++ compiler for linking
# compiled models, and the Fashion-MNIST data set; with the argument "devices" cross compilers and
# emulators of other devices, and a browser to look at reports with, too, which the tests use. Does
# nothing where all is there.
set -euo pipefail

missing=()
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
command -v g++ >/dev/null || missing+=(g++)
data="${HWOPT_HOME:-$HOME/.cache/hwopt}/data/fashion-mnist"
[ -d "$data" ] || [ -d /usr/share/datasets/fashion-mnist ] || missing+=(dataset-fashion-mnist)
if [ "${1:-}" = devices ]; then
    command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
    command -v aarch64-linux-gnu-g++ >/dev/null || missing+=(g++-aarch64-linux-gnu)
    command -v riscv64-linux-gnu-g++ >/dev/null || missing+=(g++-riscv64-linux-gnu)
    command -v qemu-system-arm >/dev/null || missing+=(qemu-system-arm)
    command -v arm-none-eabi-gcc >/dev/null || missing+=(gcc-arm-none-eabi libnewlib-arm-none-eabi)
    command -v chromium >/dev/null || missing+=(chromium)
    command -v chromedriver >/dev/null || missing+=(chromium-driver)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "Install what these Debian packages hold, then run again: ${missing[*]}" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "As root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root="sudo"
fi
echo "Installing ${missing[*]}"
$as_root apt-get update -qq
# Each by itself: without the data set the job still runs (it downloads it, or says what it uses).
for package in "${missing[@]}"; do
    if ! DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq "$package" >/dev/null; then
        echo "$package could not be installed" >&2
        [ "$package" = dataset-fashion-mnist ] || exit 1
    fi
done
