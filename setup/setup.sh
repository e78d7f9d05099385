# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables are those of ./penstock
# The slow part of ./penstock, read by it: system packages, LibTorch, CMake. Each step ends by
# writing a stamp with its inputs, so an interrupted step is done again and a finished one is not.
# Uses root, state, torch_env, build, torch, requirements, and the functions of ./penstock.

set_up() { # PACKAGE GROUP...
  local group
  [[ $torch == "$state/torch" ]] || use_own_torch
  for group in "$@"; do
    packages_ready "$group" || install_packages "$group"
  done
  forget_torch_without_toolkit
  torch_ready || install_torch
  build_configured || configure
}

# Runs a command into .penstock/logs/NAME.log; on failure shows the log's end and gives up. The
# command inherits the lock: should this script be killed, the next call waits for the orphan to end.
logged() { # NAME COMMAND...
  local log=$state/logs/$1.log
  shift
  "$@" >>"$log" 2>&1 </dev/null && return
  tail -n 40 "$log" >&2
  fail "failed: $*; the whole log is in $log"
}

# --- system packages

packages_of() { # GROUP
  local group name
  while read -r group name; do
    [[ $group != "$1" ]] || printf '%s\n' "$name"
  done <"$root/setup/packages.txt"
}

install_packages() { # GROUP
  local wanted missing
  mapfile -t wanted < <(packages_of "$1")
  if ! command -v dpkg-query apt-get >/dev/null; then
    fail "this system has no apt, so packages cannot be installed; install what is called" \
      "${wanted[*]} on Debian, then set PENSTOCK_SKIP_PACKAGES=1"
  fi
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  if ((${#missing[@]})); then
    apt_install "${missing[@]}"
  fi
  package_inputs >"$state/packages-$1"
}

missing_packages() { # NAME...
  local installed name
  # shellcheck disable=SC2016 # the fields are dpkg-query's
  installed=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' "$@" 2>/dev/null || true)"
  for name in "$@"; do
    [[ $installed == *" $name:installed "* ]] || printf '%s\n' "$name"
  done
}

apt_install() { # NAME...
  local command=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600)
  local by_hand="apt-get install --no-install-recommends $*"
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      fail "system packages are missing, and there is neither root nor sudo; as root: $by_hand"
    # Only where there is a terminal may sudo ask for a password.
    sudo -n true 2>/dev/null || { { : </dev/tty; } 2>/dev/null && sudo -v; } ||
      fail "system packages are missing, and sudo gives no root here; as root: $by_hand"
    command=(sudo "${command[@]}")
  fi
  say "installing $# system packages (a few minutes): $*"
  : >"$state/logs/packages.log"
  # Services that a package may start must not keep the lock.
  logged packages "${command[@]}" update 9>&-
  logged packages "${command[@]}" install --yes --no-install-recommends "$@" 9>&-
}

# --- LibTorch

use_own_torch() {
  check_torch "$torch" "PENSTOCK_TORCH_ROOT = $PENSTOCK_TORCH_ROOT"
  # The quick start reads the Python source in .penstock/torch.
  [[ -e $state/torch || ! -e $torch/__init__.py ]] || ln -sfn "$torch" "$state/torch"
}

# Stops unless $1 is a LibTorch of the version that is pinned, up to its patch number.
check_torch() { # ROOT LABEL
  local pinned found
  pinned=$(sed -n 's/^torch==\([0-9]*\.[0-9]*\).*/\1/p' "$requirements")
  [[ -e $1/lib/libtorch_cpu.so && -r $1/include/torch/headeronly/version.h ]] ||
    user_error "$2 is not a LibTorch $pinned: lib/libtorch_cpu.so or" \
      "include/torch/headeronly/version.h is missing; set it to the folder that holds include/ and" \
      "lib/, or unset it to use the pinned wheel"
  found=$(torch_version "$1")
  [[ $found == "$pinned".* ]] ||
    user_error "$2 is LibTorch ${found:-of an unknown version}, Penstock needs $pinned; set it to a" \
      "LibTorch $pinned, or unset it to use the pinned wheel"
}

torch_version() { # ROOT
  sed -n 's/^#define TORCH_VERSION_\(MAJOR\|MINOR\|PATCH\) \([0-9]*\)$/\2/p' \
    "$1/include/torch/headeronly/version.h" | paste -sd.
}

# Whether the loader finds the CUDA libraries that libtorch_cpu.so names.
toolkit_in_loader() {
  local cache
  cache=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null) || return 1
  [[ $cache == *libcudart.so.13' '* && $cache == *libcupti.so.13' '* ]]
}

# An environment without the CUDA wheels stops working when the toolkit it relied on goes.
forget_torch_without_toolkit() {
  if [[ -e $torch_env/uses-toolkit ]] && ! toolkit_in_loader; then rm -f "$torch_env/stamp"; fi
}

# The environment is made under another name and renamed when complete.
install_torch() {
  local python fresh=$torch_env.new packages
  python=$(find_python)
  say "downloading LibTorch, about 550 MB, 1.3 GB on the disk (one to ten minutes)"
  rm -rf "$fresh"
  : >"$state/logs/torch.log"
  logged torch "$python" -m venv "$fresh"
  if toolkit_in_loader; then
    grep -v '^nvidia-' "$requirements" >"$fresh/requirements.txt"
    : >"$fresh/uses-toolkit"
  else
    cp "$requirements" "$fresh/requirements.txt"
  fi
  # No cache: pip would keep the wheel a second time, and hold it in memory to do so.
  logged torch "$fresh/bin/python" -m pip install --no-deps --no-compile --no-cache-dir \
    --no-input --disable-pip-version-check --only-binary=:all: -r "$fresh/requirements.txt"
  packages=$(echo "$fresh"/lib/python3*/site-packages)
  check_torch "$packages/torch" "the installed wheel"
  rm -rf "$torch_env"
  mv "$fresh" "$torch_env"
  # A path without Python's version in it, for configurations and for the build.
  ln -sfn "torch-env/${packages#"$fresh"/}/torch" "$state/torch"
  cp "$requirements" "$torch_env/stamp"
}

find_python() {
  local python
  for python in ${PENSTOCK_PYTHON:+"$PENSTOCK_PYTHON"} /usr/bin/python3 python3; do
    if command -v "$python" >/dev/null; then
      printf '%s' "$python"
      return
    fi
  done
  fail "no python3 was found; install it, or set PENSTOCK_PYTHON to one"
}

# --- build

configure() {
  say "configuring the build in build/release (the first compilation takes some minutes)"
  # CMake refuses a build folder that was moved along with its sources.
  if [[ -f $build/CMakeCache.txt ]]; then
    grep -Fqx "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$build/CMakeCache.txt" || rm -rf "$build"
  fi
  mkdir -p "$build"
  : >"$state/logs/configure.log"
  logged configure cmake -S "$root" --preset release \
    -DPENSTOCK_TORCH_ROOT="$torch" -DPENSTOCK_WERROR="${PENSTOCK_WERROR:-OFF}"
  configure_inputs >"$build/configured"
}
