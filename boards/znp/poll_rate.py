"""How often a sleepy end device polls its parent: APP_CNF_SET_POLL_RATE_TYPE of Z-Stack 3.x, which zigpy-znp lacks.

Z-Stack keeps a table of poll rates and goes by what it does at the moment: DEFAULT at rest, RESPONSE after a data
confirm, QUEUED after a data indication, JOIN_REJOIN while it joins. The command sets one of them, at once and in NV
item 0x0035, which on a CC2652 is that whole table and no u32 as older documents say: a host that writes four octets
there spoils it. Source: TI's ``mt_app_config.c`` and ``nwk_util.h``. **Awaits metal**: the command is in builds with
the end device role only; in others MT answers nothing at all, which is a TIMEOUT here.
"""

from __future__ import annotations

import zigpy_znp.commands as c
import zigpy_znp.types as t

from agent.events import RadioResult, RadioStatus, SetPollRate
from boards.znp.link import MtLink

DEFAULT, QUEUED, RESPONSE = 0x0001, 0x0010, 0x0020


class PollRate(t.CommandsBase, subsystem=t.Subsystem.APPConfig):  # type: ignore[misc,call-arg]
    """What zigpy-znp's ``AppConfig`` leaves out."""

    Set = t.CommandDef(
        t.CommandType.SREQ,
        0x0C,
        req_schema=(
            t.Param("Type", t.uint16_t, "poll rate type, one bit"),
            t.Param("Rate", t.uint32_t, "milliseconds; 0xFFFFFFFF: none"),
        ),
        rsp_schema=t.STATUS_SCHEMA,
    )


for _command in (PollRate.Set,):
    c.COMMANDS_BY_ID.update({_command.Req.header: _command.Req, _command.Rsp.header: _command.Rsp})


async def set_poll_rate(link: MtLink, request: SetPollRate) -> RadioResult:
    """Three rates, each written only when it is another than this link was told last: every write wears NV memory."""
    wanted = {DEFAULT: request.period_s, RESPONSE: request.answer_s, QUEUED: request.answer_s}
    for kind, seconds in wanted.items():
        milliseconds = max(1, round(1000 * seconds))
        if link.poll_rates_ms.get(kind) != milliseconds:
            link.poll_rates_ms.pop(kind, None)  # not known, should the answer not come
            await link.request(PollRate.Set.Req(Type=kind, Rate=milliseconds), RspStatus=t.Status.SUCCESS)
            link.poll_rates_ms[kind] = milliseconds
    return RadioResult(RadioStatus.OK)
