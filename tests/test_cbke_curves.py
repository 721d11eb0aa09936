"""The curves: libcrypto where the system has it, the group's own laws, and points that are refused."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.zigbee.cbke.curves import SECT163K1, SECT283K1, Curve, Point
from agent.zigbee.cbke.field import BinaryField

CURVES = [SECT163K1, SECT283K1]
NIDS = {"sect163k1": 721, "sect283k1": 729}  # OpenSSL's obj_mac.h
both = pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
scalars = st.integers(0, 2**283)
few = settings(max_examples=20, deadline=None)


def double_and_add(curve: Curve, k: int, point: Point | None) -> Point | None:
    """The slow and plain way, by the affine group law alone."""
    result = None
    for bit in f"{k:b}":
        result = curve.add(result, result)
        if bit == "1":
            result = curve.add(result, point)
    return result


@both
def test_field_laws(curve: Curve) -> None:
    f = curve.field
    elements = st.integers(0, 2**f.m - 1)

    @few
    @given(elements, elements, elements)
    def check(a: int, b: int, c: int) -> None:
        assert f.multiply(a, b) == f.multiply(b, a)
        assert f.multiply(a, f.multiply(b, c)) == f.multiply(f.multiply(a, b), c)
        assert f.multiply(a, b ^ c) == f.multiply(a, b) ^ f.multiply(a, c)
        assert f.square(a) == f.multiply(a, a)
        assert f.square(f.square_root(a)) == a
        assert f.trace(a) in (0, 1)
        if f.trace(a) == 0:
            z = f.half_trace(a)
            assert f.square(z) ^ z == a
        if a:
            assert f.multiply(a, f.inverse(a)) == 1

    check()
    with pytest.raises(ZeroDivisionError):
        f.inverse(0)


def test_a_small_field_in_full() -> None:
    f = BinaryField(5, (2, 0))  # x^5 + x^2 + 1
    for a in range(1, 32):
        assert sorted(f.multiply(a, b) for b in range(32)) == list(range(32))
        assert f.multiply(a, f.inverse(a)) == 1


@both
def test_the_base_point_has_order_n(curve: Curve) -> None:
    assert curve.contains(curve.generator)
    assert curve.multiply(curve.n, curve.generator) is None
    assert curve.multiply_in_group(curve.n, curve.generator) is None
    assert curve.multiply(curve.n - 1, curve.generator) == curve.negate(curve.generator)
    assert curve.multiply(0, curve.generator) is None
    assert curve.multiply(5, None) is None


@both
@few
@given(j=scalars, k=scalars)
def test_group_laws(curve: Curve, j: int, k: int) -> None:
    g = curve.generator
    p, q = curve.multiply(j, g), curve.multiply_in_group(k, g)
    assert curve.add(p, q) == curve.add(q, p) == curve.multiply(j + k, g)
    assert curve.multiply(j, q) == curve.multiply_in_group(k, p)
    assert curve.add(p, curve.negate(p)) is None
    for point in (p, q):
        assert point is None or curve.contains(point)


@both
@few
@given(k=scalars)
def test_tau_expansion_is_multiplication(curve: Curve, k: int) -> None:
    assert curve.multiply(k, curve.generator) == double_and_add(curve, k, curve.generator)
    assert curve.multiply_in_group(k, curve.generator) == double_and_add(curve, k % curve.n, curve.generator)


@both
@pytest.mark.parametrize("k", range(12))
def test_small_multiples_meet_every_special_case(curve: Curve, k: int) -> None:
    outside = curve.add(curve.generator, Point(0, 1))  # not in the group of order n
    for point in (curve.generator, outside, Point(0, 1)):
        assert curve.multiply(k, point) == double_and_add(curve, k, point)


@both
@few
@given(k=st.integers(1, 2**200))
def test_points_outside_the_group_multiply_too(curve: Curve, k: int) -> None:
    outside = curve.add(curve.multiply(k, curve.generator), Point(0, 1))
    assert curve.multiply(k, outside) == double_and_add(curve, k, outside)


@both
@few
@given(k=st.integers(1, 2**162))
def test_encoding(curve: Curve, k: int) -> None:
    point = curve.multiply(k, curve.generator)
    assert point is not None
    octets = curve.encode(point)
    assert curve.decode(octets) == point
    mirrored = curve.decode(bytes((octets[0] ^ 1,)) + octets[1:])
    assert mirrored == curve.negate(point)


@both
@given(octets=st.binary(max_size=40))
def test_only_format_error_escapes(curve: Curve, octets: bytes) -> None:
    try:
        point = curve.decode(octets)
    except FormatError:
        return
    assert curve.contains(point)


@both
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_x_is_on_the_curve_or_refused(curve: Curve, data: st.DataObject) -> None:
    octets = bytes((data.draw(st.sampled_from((2, 3))),)) + data.draw(
        st.binary(min_size=curve.field.octets, max_size=curve.field.octets)
    )
    try:
        point = curve.decode(octets)
    except FormatError:
        return
    assert curve.contains(point)
    assert curve.encode(point) == octets


@both
def test_refused_points(curve: Curve) -> None:
    good = curve.encode(curve.generator)
    over = bytes((2,)) + (1 << curve.field.m | 1).to_bytes(curve.field.octets, "big")
    off = next(
        bytes((2,)) + x.to_bytes(curve.field.octets, "big")
        for x in range(1, 100)
        if curve.field.trace(x ^ curve.a ^ curve.field.square(curve.field.inverse(x)))
    )
    for octets, reason in [
        (good[:-1], "octets instead of"),
        (good + b"\0", "octets instead of"),
        (bytes(len(good)), "not a finite"),
        (b"\x04" + good[1:], "not a finite"),
        (over, "not on"),
        (off, "not on"),
        (b"\x02" + bytes(len(good) - 1), "small order"),
    ]:
        with pytest.raises(FormatError, match=reason):
            curve.decode(octets)
    assert not curve.contains(Point(curve.generator.x, curve.generator.y ^ 2))
    assert not curve.contains(Point(1 << curve.field.m, 0))


@pytest.fixture(scope="module")
def libcrypto() -> Callable[[str, int], bytes | None]:
    """k times the base point as OpenSSL's libcrypto computes it, compressed."""
    name = ctypes.util.find_library("crypto")
    if name is None:
        pytest.skip("no libcrypto on this system")
    lib = ctypes.CDLL(name)
    pointer = ctypes.c_void_p
    octets_out = [pointer, pointer, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, pointer]
    for function, result, arguments in [
        ("EC_GROUP_new_by_curve_name", pointer, [ctypes.c_int]),
        ("EC_GROUP_free", None, [pointer]),
        ("EC_POINT_new", pointer, [pointer]),
        ("EC_POINT_free", None, [pointer]),
        ("BN_bin2bn", pointer, [ctypes.c_char_p, ctypes.c_int, pointer]),
        ("BN_free", None, [pointer]),
        ("EC_POINT_mul", ctypes.c_int, [pointer] * 6),
        ("EC_POINT_point2oct", ctypes.c_size_t, octets_out),
    ]:
        getattr(lib, function).restype = result
        getattr(lib, function).argtypes = arguments

    def multiply(curve: str, k: int) -> bytes | None:
        group = lib.EC_GROUP_new_by_curve_name(NIDS[curve])
        if not group:
            return None
        octets = k.to_bytes(64, "big")
        number, point = lib.BN_bin2bn(octets, len(octets), None), lib.EC_POINT_new(group)
        out = ctypes.create_string_buffer(64)
        assert lib.EC_POINT_mul(group, point, number, None, None, None) == 1
        length = lib.EC_POINT_point2oct(group, point, 2, out, 64, None)
        for free, what in ((lib.EC_POINT_free, point), (lib.BN_free, number), (lib.EC_GROUP_free, group)):
            free(what)
        return out.raw[:length]

    return multiply


@both
def test_libcrypto_agrees(curve: Curve, libcrypto: Callable[[str, int], bytes | None]) -> None:
    if libcrypto(curve.name, 1) is None:
        pytest.skip(f"this libcrypto was built without {curve.name}")

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, curve.n - 1))
    def check(k: int) -> None:
        point = curve.multiply_in_group(k, curve.generator)
        assert point is not None
        assert curve.encode(point) == libcrypto(curve.name, k)

    check()
