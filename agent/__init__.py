"""HAN firmware agent: updates a PPMID or an HCALCS over the air. See agent/DESIGN.md."""
