"""The device as a running program: signals, service manager, watchdog, status LED, control socket, and the driver."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import structlog

from agent import control_socket
from agent.device import Device
from agent.errors import EXIT_OK, EXIT_RESTART, RadioError, StorageError
from agent.install_codes import parse_code
from agent.notify import Pulse, ServiceManager
from agent.ports import RadioPort
from agent.shell import Driver
from agent.telling import News
from agent.update.states import State
from boards.raspberry_pi.led import TICK_S, Light, StatusLed

ENGINEER = "the engineer asked for it"
FACTORY_STATUS = "factory agent: no slot verifies, an image is fetched from the hub"


class Runtime:
    """One device on one radio. A radio that is not there is waited for: nobody comes to start the device again."""

    def __init__(
        self,
        device: Device,
        radio: RadioPort,
        control: Path,
        led: StatusLed | None,
        news: News,
        manager: ServiceManager | None = None,
    ) -> None:
        self._device = device
        self._control = control
        self._led = led
        self._news = news
        self._manager = manager or ServiceManager.from_environment(os.environ)
        self._pulse = Pulse(self._manager)
        self.stop = asyncio.Event()
        self._ready = False
        self._driver = Driver(
            device, radio, time.monotonic, self.look, self._pulse.interval_s, on_no_radio=self._no_radio
        )

    async def run(self) -> int:
        """Until a signal (0) or the device asks for a restart (75)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        self._device.begin(time.monotonic())
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(control_socket.serve(self._control, self._answer))
            except StorageError as error:  # nobody can cancel then; the device itself does its work
                _log("no control socket", reason=str(error))
            light = asyncio.create_task(self._shine(self._led)) if self._led else None
            try:
                await self._driver.run(self.stop)
            finally:
                self._manager.stopping()
                if light and self._led:
                    light.cancel()
                    self._led.show(Light.DARK, 0.0)
        return EXIT_RESTART if self._device.restart else EXIT_OK

    def look(self) -> None:
        """After every turn of the driver: a word to the service manager, and the end when the device asks for it."""
        if not self._ready:
            self._ready = True
            self._manager.ready(FACTORY_STATUS if self._device.is_factory else "the device runs")
        self._pulse.beat(self._device.next_deadline(), time.monotonic())
        if self._device.restart:
            self.stop.set()

    def _no_radio(self, error: RadioError, again_s: float) -> None:
        _log("no radio", reason=str(error), again_s=again_s)

    def _answer(self, command: str, values: control_socket.Fields) -> control_socket.Fields:
        """One command of the control socket."""
        since = self._news.count
        answer: control_socket.Fields
        match command:
            case "cancel-update":
                before, dropped = self._device.cancel_update(ENGINEER, time.monotonic())
                answer = {"cancelled": before.outline() if dropped else None, "state": before.state.value}
            case "retry-update":
                failed = self._device.retry_update(time.monotonic())
                answer = {"failed": asdict(failed) if failed else None}
            case "join":
                text = str(values.get("install_code", ""))
                code = parse_code(text, "the install code") if text else b""
                channels = tuple(one for one in _list(values.get("channels")) if isinstance(one, int))
                answer = {"obstacle": self._device.join(code, channels, time.monotonic()), "since": since}
            case "leave":
                answer = {"obstacle": self._device.leave(ENGINEER, time.monotonic()), "since": since}
            case "news":
                number = values.get("since")
                lines = self._news.since(number if isinstance(number, int) else since)
                return {"lines": lines, "next": since}
            case _:
                return {"error": f"no command {command!r}"}
        self._driver.wake()
        return answer

    async def _shine(self, led: StatusLed) -> None:
        while True:
            led.show(self.light(), time.monotonic())
            await asyncio.sleep(TICK_S)

    def light(self) -> Light:
        """What the status LED shows now."""
        device = self._device
        if device.restart or device.update_state in (State.ACTIVATING, State.TRIAL):
            return Light.FLASH
        if device.is_factory:
            return Light.QUICK if device.update_state is State.DOWNLOADING else Light.WINK
        if not device.hub_answers:
            return Light.SLOW
        return Light.QUICK if device.update_state is State.DOWNLOADING else Light.STEADY


def _log(event: str, /, **facts: object) -> None:
    structlog.get_logger().warning(event, **facts)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
