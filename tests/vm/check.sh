#!/bin/sh
# check.sh - the tests of this folder under one kernel: check.sh KERNELS SUITE BUILD OUT
#
# Leaves OUT.log and pytest's report OUT.xml. Exit status: pytest's; 77: the kernel is not to be had.
set -eu
kernels=$1 suite=$2 build=$3 out=$4
cd "$(dirname "$0")"
rm -f "$out.xml"
if ! version=$(./kernel.sh "$suite" "$kernels" 2>"$out.log"); then
	exit 77
fi
# sockdiag is old; bpf and nflog are where these kernels have them.
status=0
APPTAP_BUILD=$build VM_ENV="APPTAP_BUILD=$build PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=../e2e" \
	./vm.sh "$kernels" "$version" sh -c '
		/usr/bin/python3 -m pytest -p no:cacheprovider -ra --color=no --junitxml=/run/report.xml \
			-c /dev/null --rootdir=. test_under_kernel.py
		status=$?
		echo vm-report
		cat /run/report.xml
		exit $status' >"$out.all" 2>"$out.err" || status=$?
sed '/^vm-report$/,$d' "$out.all" >"$out.log"
cat "$out.err" >>"$out.log"
sed '1,/^vm-report$/d' "$out.all" >"$out.xml"
rm -f "$out.all" "$out.err"
exit $status
