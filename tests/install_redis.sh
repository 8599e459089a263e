#!/bin/sh
# Make sure that a Redis or Valkey server is there: from the packages of the system, where it is missing and this user may install them.
# Never fails: the tests that need one are skipped, and say so. They start it themselves, in a folder of their own.
set -u

for name in redis-server valkey-server; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "A Redis server is missing, and this user may not install it. Install the package 'redis-server', then run this again." >&2
        exit 0
    fi
fi

echo "Installing a Redis server from the packages of this system ..."
if command -v apt-get >/dev/null 2>&1; then
    $as_root apt-get update -qq >/dev/null 2>&1
    for package in redis-server valkey-server; do
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $package >/dev/null 2>&1 && break
    done
elif command -v dnf >/dev/null 2>&1; then
    $as_root dnf install -y -q valkey >/dev/null 2>&1 || $as_root dnf install -y -q redis >/dev/null
elif command -v apk >/dev/null 2>&1; then
    $as_root apk add --quiet redis || $as_root apk add --quiet valkey
elif command -v pacman >/dev/null 2>&1; then
    $as_root pacman -S --noconfirm --quiet valkey >/dev/null
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet redis >/dev/null
fi
command -v redis-server >/dev/null 2>&1 || command -v valkey-server >/dev/null 2>&1 || echo "A Redis server could not be installed; its tests are skipped." >&2
exit 0
