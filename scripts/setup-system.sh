#!/usr/bin/env bash
# Installs what recording a desktop and the tests need, on Debian and its kin, and only what is
# missing: Xvfb (a display without a screen), xrandr and xsetroot, and the X libraries; b3sum, zstd
# and openssl, with which a recording is verified by hand and time-stamped in the tests; chromium, in
# which the tests look at /status; TigerVNC's server, a second kind of display; and GStreamer's RTSP
# server, a camera for the tests. With the word `demo` only what the demo needs: the first three; with
# the word `all`, for a machine that is thrown away, what changes more of it than a test is worth, too:
# xorgxrdp (a third kind of display: brings Xorg and a newer udev) and prometheus (promtool; starts a
# server where systemd is). Says what it does. Where it cannot install, it says what will not work, and
# succeeds: everything else does work.
set -euo pipefail

packages=(xvfb libxcb1 libxcb-shm0 libxcb-randr0 x11-xserver-utils)
if [ "${1:-}" != demo ]; then
  packages+=(b3sum zstd openssl chromium tigervnc-standalone-server)
  packages+=(gir1.2-gst-rtsp-server-1.0 python3-gi)
  packages+=(gstreamer1.0-plugins-{base,good,bad,ugly})
fi
if [ "${1:-}" = all ]; then
  packages+=(xorgxrdp prometheus)
fi

if [ "$(uname -s)" != Linux ]; then
  echo "system: not Linux: recording an X display is not available; its tests are skipped"
  exit 0
fi

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
  done
elif ! command -v Xvfb >/dev/null; then
  missing=("${packages[@]}")
fi

if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

without="without ${missing[*]} the tests that need them are skipped, and without xvfb the live desktop of the demo is left out"
if ! command -v apt-get >/dev/null; then
  echo "system: no apt-get here; install their like by hand: $without"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # -n: a password prompt in the middle of `make test` would look like a hang.
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "system: not root and no sudo without a password; run: sudo apt-get install ${missing[*]}"
    echo "system: $without"
    exit 0
  fi
fi

echo "system: installing ${missing[*]} with apt-get"
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
  apt-get install -qq -y --no-install-recommends "${missing[@]}")
if ! "${install[@]}" >/dev/null 2>&1; then
  # Perhaps only the package lists are old or absent.
  if ! { "${as_root[@]}" apt-get update -qq && "${install[@]}" >/dev/null; }; then
    echo "system: apt-get failed; $without"
    exit 0
  fi
fi
echo "system: installed"
