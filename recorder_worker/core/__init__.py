"""Pure core: functions of their input; no clock, random, log, thread or file in here."""
