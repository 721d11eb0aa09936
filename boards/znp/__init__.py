"""The parts of the radio adapter ``boards.znp_radio``: the only modules that import zigpy and zigpy_znp."""
