"""The CC2652's ROM serial bootloader: erase, program, check and start a radio firmware over its own UART.

Sources: TI SWCU185 (CC13x2, CC26x2 technical reference manual), chapter 11 "Device configuration: bootloader", and
TI SWRA466 "CC2538, CC13xx and CC26xx serial bootloader interface".
"""
