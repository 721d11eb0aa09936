"""The emulated chip at its MT line, in virtual time: what hosts of other makes ask, and anything at all."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
import zigpy_znp.commands as c
import zigpy_znp.types as t
from hypothesis import given, settings
from hypothesis import strategies as st
from zigpy_znp.frames import GeneralFrame

from boards.virtual.air.medium import Air
from boards.virtual.air.scheduler import ManualScheduler
from boards.virtual.ncp import commands
from boards.virtual.ncp.chip import Chip
from boards.virtual.ncp.codec import MtFrame, MtParser
from boards.virtual.ncp.nv import NvMemory, old_item
from boards.virtual.stack.stack import Stack

CODE = bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5")
EUIS = (0x00124B0000000001, 0x00124B0000000002)
COMMISSIONING_LIMIT_S = 60.0


class Bench:
    """Chips on one virtual air, and a host without any wisdom for each."""

    def __init__(self, euis: tuple[int, ...] = EUIS) -> None:
        self.scheduler = ManualScheduler()
        self.air = Air(self.scheduler)
        self.memories = [NvMemory() for _ in euis]
        self.chips = [self._chip(eui, memory) for eui, memory in zip(euis, self.memories, strict=True)]
        self.lines: list[list[MtFrame]] = [[] for _ in euis]
        for chip, line in zip(self.chips, self.lines, strict=True):
            parser = MtParser()
            chip.attach(lambda octets, parser=parser, line=line: line.extend(parser.feed(octets)))

    def _chip(self, eui: int, memory: NvMemory) -> Chip:
        generator = random.Random(eui)
        return Chip(self.scheduler, lambda own, sink: Stack(self.air, own, sink, generator), memory, eui, generator)

    def ask(self, number: int, cmd0: int, cmd1: int, data: bytes = b"") -> bytes:
        """A synchronous request: the data of its one response."""
        line = self.lines[number]
        before = len(line)
        self.chips[number].receive(MtFrame(cmd0, cmd1, data).encode())
        answers = [frame for frame in line[before:] if frame.type == 3]
        assert len(answers) == 1
        assert (answers[0].cmd0, answers[0].cmd1) == (cmd0 + 0x40, cmd1)
        line.remove(answers[0])
        return answers[0].data

    def order(self, number: int, cmd0: int, cmd1: int, data: bytes = b"") -> None:
        """A request that must succeed."""
        assert self.ask(number, cmd0, cmd1, data) == b"\x00"

    def wait(self, number: int, cmd0: int, cmd1: int, limit_s: float = COMMISSIONING_LIMIT_S) -> MtFrame:
        """The next such indication, taken out of the line."""

        def found() -> Iterator[MtFrame]:
            return (frame for frame in self.lines[number] if (frame.cmd0, frame.cmd1) == (cmd0, cmd1))

        assert self.scheduler.run_while(lambda: next(found(), None) is None, limit_s)
        frame = next(found())
        self.lines[number].remove(frame)
        return frame

    def reset(self, number: int) -> None:
        self.chips[number].receive(MtFrame(0x41, 0x00, b"\x01").encode())
        assert self.wait(number, 0x41, 0x80).data == bytes((0, 2, 1, 2, 7, 1))

    def write_nv(self, number: int, item: int, value: bytes) -> None:
        self.order(number, 0x21, 0x09, struct.pack("<HBB", item, 0, len(value)) + value)

    def form(self) -> None:
        self.write_nv(0, 0x0087, b"\x00")
        self.write_nv(0, 0x008F, b"\x01")
        self.order(0, 0x2F, 0x08, b"\x01" + (1 << 15).to_bytes(4, "little"))
        self.order(0, 0x2F, 0x05, b"\x04")
        assert self.notifications(0) == [(1, 2, 4), (0, 2, 0)]

    def join(self) -> None:
        self.order(0, 0x2F, 0x04, b"\x01" + EUIS[1].to_bytes(8, "little") + CODE)
        self.order(0, 0x25, 0x36, b"\x02\x00\x00\x78\x01")
        self.write_nv(1, 0x0087, b"\x01")
        self.write_nv(1, 0x008F, b"\x01")
        self.reset(1)
        self.order(1, 0x2F, 0x08, b"\x01" + (1 << 15).to_bytes(4, "little"))
        self.order(1, 0x2F, 0x07, b"\x01" + CODE)
        self.order(1, 0x2F, 0x05, b"\x02")
        assert self.notifications(1) == [(1, 1, 2), (0, 1, 0)]

    def notifications(self, number: int) -> list[tuple[int, ...]]:
        """BDB's words up to the one with nothing remaining."""
        words: list[tuple[int, ...]] = []
        while not words or words[-1][2] != 0:
            words.append(tuple(self.wait(number, 0x4F, 0x80).data))
        return words

    def register(self, number: int, endpoint: int = 1) -> None:
        row = struct.pack("<BHHBB", endpoint, 0x0109, 0, 0, 0) + b"\x01\x00\x00\x01\x19\x00"
        self.order(number, 0x24, 0x00, row)


@pytest.fixture
def joined() -> Bench:
    bench = Bench()
    bench.form()
    bench.join()
    for number in (0, 1):
        bench.register(number)
    bench.scheduler.run_for(5)
    return bench


def test_what_the_chip_does_not_know_is_an_rpc_error() -> None:
    bench = Bench()
    chip, line = bench.chips[0], bench.lines[0]
    for request, error in {
        MtFrame(0x21, 0x7F): 2,  # SYS, no such command
        MtFrame(0x22, 0x01): 1,  # MAC is not there
        MtFrame(0x21, 0x08, b"\x01"): 4,  # SYS_OSAL_NV_READ cut short
    }.items():
        chip.receive(request.encode())
        assert line.pop() == MtFrame(0x60, 0, bytes((error, request.cmd0, request.cmd1)))


def test_nv_items_as_hosts_make_them() -> None:
    bench = Bench()
    init = struct.pack("<HHB", 0x0F00, 3, 1) + b"\x55"
    assert bench.ask(0, 0x21, 0x07, init) == b"\x09"  # created
    assert bench.ask(0, 0x21, 0x07, init) == b"\x00"  # was there
    assert bench.ask(0, 0x21, 0x07, struct.pack("<HHB", 0x0F00, 4, 0)) == b"\x0a"
    assert bench.ask(0, 0x21, 0x13, b"\x00\x0f") == b"\x03\x00"
    assert bench.ask(0, 0x21, 0x08, b"\x00\x0f\x00") == b"\x00\x03\x55\xff\xff"
    assert bench.ask(0, 0x21, 0x08, b"\x00\x0f\x03") == b"\x02\x00"
    assert bench.ask(0, 0x21, 0x1D, struct.pack("<HHH", 0x0F00, 1, 2) + b"ab") == b"\x00"
    assert bench.ask(0, 0x21, 0x33, struct.pack("<BHHHB", 1, 0, 0x0F00, 1, 9)) == b"\x00\x02ab"
    assert bench.ask(0, 0x21, 0x12, struct.pack("<HH", 0x0F00, 2)) == b"\x0c"
    assert bench.ask(0, 0x21, 0x12, struct.pack("<HH", 0x0F00, 3)) == b"\x00"
    assert bench.ask(0, 0x21, 0x13, b"\x00\x0f") == b"\x00\x00"


def test_an_address_of_ones_own_from_the_next_reset_on() -> None:
    bench = Bench()
    assert bench.ask(0, 0x21, 0x04) == EUIS[0].to_bytes(8, "little")
    bench.order(0, 0x21, 0x03, bytes(range(1, 9)))
    bench.reset(0)
    assert bench.ask(0, 0x21, 0x04) == bytes(range(1, 9))
    length = bench.ask(0, 0x21, 0x13, b"\x01\x00")
    assert bench.ask(0, 0x21, 0x12, b"\x01\x00" + length) == b"\x00"
    bench.reset(0)
    assert bench.ask(0, 0x21, 0x04) == EUIS[0].to_bytes(8, "little")


def test_fifteen_endpoints_as_another_host_registers_them() -> None:
    bench = Bench()
    for endpoint in range(1, 16):
        bench.register(0, endpoint)
    row = struct.pack("<BHHBBBB", 1, 0x0104, 5, 0, 0, 0, 0)
    assert bench.ask(0, 0x24, 0x00, row) == b"\xb8"  # taken
    bench.order(0, 0x24, 0x04, b"\x01")
    bench.order(0, 0x24, 0x00, row)


def test_start_up_on_a_formed_network_and_what_the_host_is_told() -> None:
    bench = Bench()
    bench.form()
    assert bench.wait(0, 0x45, 0xC0).data == b"\x08"
    assert bench.wait(0, 0x45, 0xC0).data == b"\x09"
    info = bench.ask(0, 0x25, 0x50)
    assert len(info) == 24
    short, state, pan_id, _, extended, parent, channel = struct.unpack("<HBHHQQB", info)
    assert (short, state, extended, parent, channel) == (0, 9, EUIS[0], EUIS[0], 15)
    assert pan_id not in (0, 0xFFFF)
    bench.reset(0)
    assert bench.ask(0, 0x25, 0x50)[2] == 0
    bench.order(0, 0x2F, 0x05, b"\x04")
    assert bench.notifications(0) == [(0x0D, 0, 4), (8, 2, 0)]
    bench.scheduler.run_for(1)
    assert bench.ask(0, 0x25, 0x50) == info


def test_start_up_from_app_as_older_hosts_do_it() -> None:
    bench = Bench()
    bench.form()
    bench.reset(0)
    bench.lines[0].clear()
    bench.order(0, 0x25, 0x40, b"\x64\x00")
    assert [bench.wait(0, 0x45, 0xC0).data for _ in range(2)] == [b"\x08", b"\x09"]
    info = bench.ask(0, 0x27, 0x00)
    assert struct.unpack("<BQHBBB", info) == (0, EUIS[0], 0, 7, 9, 0)


def test_questions_to_oneself_never_touch_the_air() -> None:
    bench = Bench()
    bench.form()
    bench.register(0, 7)
    attempts = bench.air.statistics.attempts
    bench.order(0, 0x25, 0x05, bytes(4))
    assert bench.wait(0, 0x45, 0x85).data == b"\x00\x00\x00\x00\x00\x01\x07"
    bench.order(0, 0x24, 0x01, struct.pack("<HBBHBBBB", 0, 7, 7, 0x0019, 0x11, 0x10, 30, 2) + b"me")
    assert bench.wait(0, 0x44, 0x80).data == bytes((0, 7, 0x11))
    assert b"me" in bench.wait(0, 0x44, 0x81).data
    assert bench.air.statistics.attempts == attempts


def test_groups() -> None:
    bench = Bench()
    assert bench.ask(0, 0x25, 0x4A, b"\x01\x05\x00") == b"\x01" + bytes(18)
    bench.order(0, 0x25, 0x4B, b"\x01\x05\x00\x03abc")
    assert bench.ask(0, 0x25, 0x4A, b"\x01\x05\x00") == b"\x00\x05\x00\x03abc" + bytes(12)
    bench.order(0, 0x25, 0x4B, b"\x01\x06\x00\x00")
    assert bench.ask(0, 0x25, 0x49, b"\x01\x00\x00") == b"\x02\x05\x00\x06\x00"
    assert bench.ask(0, 0x25, 0x4C) == b"\x02"
    bench.order(0, 0x25, 0x47, b"\x01\x05\x00")
    assert bench.ask(0, 0x25, 0x47, b"\x01\x05\x00") == b"\x01"
    bench.order(0, 0x25, 0x48, b"\x01")
    assert bench.ask(0, 0x25, 0x4C) == b"\x00"
    for group in range(16):
        bench.order(0, 0x25, 0x4B, struct.pack("<BHB", 1, group, 0))
    assert bench.ask(0, 0x25, 0x4B, struct.pack("<BHB", 1, 99, 0)) == b"\xb2"


def test_a_message_to_a_group(joined: Bench) -> None:
    joined.order(1, 0x25, 0x4B, b"\x01\x05\x00\x00")
    request = struct.pack("<BQBHBHBBBH", 1, 5, 0xFF, 0, 1, 0x0006, 9, 0, 30, 3) + b"all"
    joined.order(0, 0x24, 0x02, request)
    message = joined.wait(1, 0x44, 0x81).data
    assert message[:4] == b"\x05\x00\x06\x00"
    assert message[17:20] == b"all"


def test_beacons_of_a_network_discovery() -> None:
    bench = Bench()
    bench.form()
    bench.order(1, 0x25, 0x26, struct.pack("<IB", 0x07FFF800, 3))
    beacons = bench.wait(1, 0x45, 0xC5).data
    assert beacons[0] == 1
    parsed, rest = t.Beacon.deserialize(beacons[1:])
    assert rest == b""
    assert (parsed.Src, parsed.Channel) == (0, 15)
    assert parsed.ExtendedPanId.serialize() == EUIS[0].to_bytes(8, "little")
    assert bench.wait(1, 0x45, 0xC7).data == b"\x00"


def test_start_up_option_3_makes_a_chip_factory_new() -> None:
    bench = Bench()
    bench.form()
    key = bench.memories[0].get(old_item(0x003A))
    bench.write_nv(0, 0x0003, b"\x03")
    bench.reset(0)
    assert bench.memories[0].get(old_item(0x003A)) != key
    bench.order(0, 0x2F, 0x05, b"\x00")
    assert bench.notifications(0) == [(0x0E, 0, 0)]


def test_no_network_and_a_key_that_is_not_known() -> None:
    bench = Bench()
    bench.write_nv(1, 0x0087, b"\x01")
    bench.reset(1)
    bench.order(1, 0x2F, 0x05, b"\x02")
    assert bench.notifications(1) == [(1, 1, 2), (2, 1, 0)]
    assert bench.ask(1, 0x2F, 0x07, b"\x01" + CODE[:-1] + b"\x00") == b"\x02"  # wrong CRC
    assert bench.ask(1, 0x2F, 0x04, b"\x01" + bytes(8) + CODE[:10]) == b"\x02"


def test_plain_data_requests_and_confirms(joined: Bench) -> None:
    short = joined.chips[1].short
    data = struct.pack("<HBBHBBBB", short, 1, 1, 0x0019, 0x42, 0x10, 30, 5) + b"hello"
    joined.order(0, 0x24, 0x01, data)
    assert joined.wait(0, 0x44, 0x80).data == bytes((0, 1, 0x42))
    message = joined.wait(1, 0x44, 0x81).data
    group, cluster, source, source_endpoint, endpoint = struct.unpack_from("<HHHBB", message)
    assert (group, cluster, source, source_endpoint, endpoint) == (0, 0x0019, 0, 1, 1)
    assert message[16:17] == b"\x05"
    assert message[17:22] == b"hello"
    unregistered = struct.pack("<HBBHBBBB", short, 1, 9, 0x0019, 0x43, 0, 30, 0)
    assert joined.ask(0, 0x24, 0x01, unregistered) == b"\x02"


def test_a_huge_message_is_stored_announced_and_retrieved(joined: Bench) -> None:
    payload = random.Random(3).randbytes(700)
    head = struct.pack("<BQBHBHBBBH", 2, joined.chips[1].short, 1, 0, 1, 0x0704, 7, 0x10, 30, len(payload))
    joined.order(0, 0x24, 0x02, head)
    assert joined.ask(0, 0x24, 0x02, head) == b"\x02"  # one at a time
    for index in range(0, 700, 240):
        part = payload[index : index + 240]
        joined.order(0, 0x24, 0x11, struct.pack("<HB", index, len(part)) + part)
    assert joined.ask(0, 0x24, 0x11, struct.pack("<HB", 650, 100) + bytes(100)) == b"\x10"
    joined.order(0, 0x24, 0x11, b"\x00\x00\x00")
    assert joined.wait(0, 0x44, 0x80).data == bytes((0, 1, 7))
    announced = joined.wait(1, 0x44, 0x82).data
    assert len(announced) == 30
    assert announced[25:27] == (700).to_bytes(2, "little")
    stamp = announced[20:24]
    got = b""
    while len(got) < 700:
        answer = joined.ask(1, 0x24, 0x12, stamp + struct.pack("<HB", len(got), min(248, 700 - len(got))))
        assert answer[0] == 0
        got += answer[2:]
    assert got == payload
    assert joined.ask(1, 0x24, 0x12, stamp + b"\x00\x00\x00") == b"\x00\x00"
    assert joined.ask(1, 0x24, 0x12, stamp + b"\x00\x00\x01") == b"\x01\x00"


def test_a_huge_message_that_nobody_fetches_is_forgotten(joined: Bench) -> None:
    head = struct.pack("<BQBHBHBBBH", 2, joined.chips[1].short, 1, 0, 1, 0x0704, 7, 0x10, 30, 300)
    joined.order(0, 0x24, 0x02, head)
    joined.scheduler.run_for(16)
    assert joined.ask(0, 0x24, 0x11, b"\x00\x00\x00") == b"\x02"
    joined.order(0, 0x24, 0x02, head)
    joined.order(0, 0x24, 0x11, b"\x00\x00\x00")
    stamp = joined.wait(1, 0x44, 0x82).data[20:24]
    joined.scheduler.run_for(16)
    assert joined.ask(1, 0x24, 0x12, stamp + b"\x00\x00\x01") == b"\x01\x00"


def test_zdo_answers_come_in_both_forms(joined: Bench) -> None:
    joined.order(0, 0x25, 0x3E, b"\xff\xff")
    short = joined.chips[1].short.to_bytes(2, "little")
    joined.order(0, 0x25, 0x04, short + short + b"\x01")
    own = joined.wait(0, 0x45, 0x84).data
    assert own[:6] == short + b"\x00" + short + bytes((len(own) - 6,))
    descriptor = own[6:]
    assert descriptor == struct.pack("<BHHB", 1, 0x0109, 0, 0) + b"\x01\x00\x00\x01\x19\x00"
    callback = joined.wait(0, 0x45, 0xFF).data
    assert callback[:5] == short + b"\x00\x04\x80"
    assert callback[9:] == own[2:]


@pytest.mark.parametrize("command", [0x00, 0x01, 0x02, 0x03, 0x05, 0x31, 0x32, 0x33])
def test_every_discovery_request_is_answered_in_its_own_form(joined: Bench, command: int) -> None:
    short = joined.chips[1].short.to_bytes(2, "little")
    body = {0x00: EUIS[1].to_bytes(8, "little") + b"\x01\x00", 0x01: short + b"\x00\x00"}
    tail = b"\x00" if command >= 0x31 else short
    joined.order(0, 0x25, command, body.get(command, short + tail))
    answer = joined.wait(0, 0x45, 0x80 | command)
    definition = c.COMMANDS_BY_ID[t.CommandHeader(answer.cmd0 | answer.cmd1 << 8)]
    parsed = definition.from_frame(GeneralFrame(t.CommandHeader(answer.cmd0 | answer.cmd1 << 8), answer.data))
    assert parsed.Status == 0


def test_sixteen_energies_of_ones_own(joined: Bench) -> None:
    joined.order(0, 0x25, 0x3E, b"\xff\xff")
    body = struct.pack("<HBIBBH", 0, 2, 0x07FFF800, 4, 1, 0)
    joined.order(0, 0x25, 0x37, body)
    notify = joined.wait(0, 0x45, 0xB8).data
    assert notify[:3] == b"\x00\x00\x00"
    assert notify[11] == 16
    assert len(notify) == 12 + 16


def test_mgmt_leave_of_another_sends_it_away(joined: Bench) -> None:
    short = joined.chips[1].short.to_bytes(2, "little")
    joined.order(0, 0x25, 0x34, short + bytes(8) + b"\x00")
    assert joined.wait(0, 0x45, 0xB4).data == short + b"\x00"
    left = joined.wait(1, 0x45, 0xC9).data
    assert left[2:10] == EUIS[1].to_bytes(8, "little")
    assert joined.wait(1, 0x41, 0x80)
    joined.order(1, 0x2F, 0x05, b"\x00")
    assert joined.notifications(1) == [(0x0E, 0, 0)]


def test_the_coordinator_learns_who_joined(joined: Bench) -> None:
    short = joined.chips[1].short.to_bytes(2, "little")
    eui = EUIS[1].to_bytes(8, "little")
    assert joined.wait(0, 0x45, 0xCA).data == short + eui + b"\x00\x00"
    assert joined.wait(0, 0x45, 0xC1).data == short + short + eui + b"\x8e"
    assert joined.ask(0, 0x27, 0x40, eui) == short
    assert joined.ask(0, 0x27, 0x41, short) == eui


PARTNER = t.EUI64(EUIS[1].to_bytes(8, "little"))


@pytest.mark.parametrize(
    "request_",
    [
        c.SYS.Ping.Req(),
        c.SYS.Version.Req(),
        c.SYS.GetExtAddr.Req(),
        c.SYS.Random.Req(),
        c.SYS.GetTime.Req(),
        c.SYS.SetTxPower.Req(TXPower=5),
        c.SYS.NVLength.Req(SysId=1, ItemId=4, SubId=0),
        c.SYS.NVRead.Req(SysId=1, ItemId=4, SubId=0, Offset=0, Length=20),
        c.UTIL.GetDeviceInfo.Req(),
        c.UTIL.GetNVInfo.Req(),
        c.UTIL.TimeAlive.Req(),
        c.UTIL.Loopback.Req(Data=b"abc"),
        c.UTIL.AssocFindDevice.Req(Index=0),
        c.UTIL.AssocFindDevice.Req(Index=9),
        c.UTIL.AssocGetWithAddress.Req(IEEE=PARTNER, NWK=0),
        c.UTIL.APSMELinkKeyDataGet.Req(IEEE=PARTNER),
        c.UTIL.AddrMgrExtAddrLookup.Req(IEEE=PARTNER),
        c.ZDO.GetLinkKey.Req(IEEE=PARTNER),
        c.ZDO.ExtCountAllGroups.Req(),
    ],
    ids=lambda request: type(request).__qualname__,
)
def test_every_answer_parses_in_zigpy_znp(joined: Bench, request_: c.SYS.Ping.Req) -> None:
    frame = request_.to_frame(align=True)
    answer = joined.ask(0, frame.header.cmd0, frame.header.id, bytes(frame.data))
    parsed = request_.Rsp.from_frame(GeneralFrame(request_.Rsp.header, answer), align=True)
    assert len(parsed.to_frame(align=True).data) == len(answer)  # padding octets may differ


def test_a_timer_of_the_hosts() -> None:
    bench = Bench()
    bench.order(0, 0x21, 0x0A, b"\x02\xe8\x03")
    start = bench.scheduler.now()
    assert bench.wait(0, 0x41, 0x81).data == b"\x02"
    assert bench.scheduler.now() - start == pytest.approx(1.0)


def test_nobody_on_the_line() -> None:
    bench = Bench()
    bench.form()
    bench.chips[0].detach()
    bench.chips[0].receive(MtFrame(0x21, 0x01).encode())
    bench.scheduler.run_for(60)
    assert bench.chips[0].network is not None


KNOWN = [(0x20 | subsystem, command) for subsystem, table in commands.SYNCHRONOUS.items() for command in table]
requests = st.tuples(
    st.integers(0, 1),
    st.one_of(
        st.sampled_from(KNOWN),
        st.sampled_from([(0x2F, 0x05), (0x25, 0x36), (0x24, 0x02), (0x41, 0x00), (0x44, 0x01)]),
        st.tuples(st.integers(0, 255), st.integers(0, 255)),
    ),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\x00", b"\x02", b"\x04", b"\x06", b"\x01" + CODE, bytes(24), b"\xff" * 30, bytes(250)]),
        st.binary(min_size=240, max_size=250),
    ),
    st.sampled_from([0.0, 0.0, 0.01, 1.0, 20.0]),
)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(requests, max_size=25))
def test_any_requests_in_any_order_never_raise_and_are_answered_once(
    on_network: bool, script: list[tuple[int, tuple[int, int], bytes, float]]
) -> None:
    bench = Bench()
    if on_network:
        bench.form()
        bench.join()
    for number, (cmd0, cmd1), data, pause_s in script:
        line = bench.lines[number]
        line.clear()
        bench.chips[number].receive(MtFrame(cmd0, cmd1, data).encode())
        answers = [frame for frame in line if frame.type == 3]
        if cmd0 >> 5 == 1:
            assert len(answers) == 1
            assert answers[0].cmd0 == 0x60 or (answers[0].cmd0, answers[0].cmd1) == (cmd0 + 0x40, cmd1)
        else:
            assert answers == []
        bench.scheduler.run_for(pause_s)
    for number in (0, 1):
        assert bench.ask(number, 0x21, 0x01) == b"\x59\x04"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_octets_never_raise(octets: bytes) -> None:
    bench = Bench(EUIS[:1])
    bench.chips[0].receive(octets + bytes(255))
    bench.scheduler.run_for(1.0)
    assert bench.ask(0, 0x21, 0x01) == b"\x59\x04"
