"""What the strict filter leaves out of the default one."""

import random

from estiva.runtime.security import seccomp_profile, seccomp_strict


def allowed(profile):
    return {
        name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]
    }


def test_it_allows_less_and_nothing_more():
    usual, strict = allowed(seccomp_profile.profile()), allowed(seccomp_strict.profile())
    assert strict < usual
    assert {"ptrace", "process_vm_readv", "io_setup", "vmsplice", "memfd_secret"} <= usual - strict
    assert not any(each["subArchitectures"] for each in seccomp_strict.profile()["archMap"])


def test_all_but_some_values_is_just_that():
    values = seccomp_strict.IOCTLS
    tests = seccomp_strict.all_but(values)
    near = [value ^ 1 << bit for value in values for bit in range(32)]
    for number in [*values, *near, 0, 0xFFFFFFFF, *(random.Random(7).getrandbits(32) for _ in range(1000))]:
        assert any(number & mask == value for mask, value in tests) == (number not in values)
    assert all(mask < 1 << 32 for mask, _ in tests)
