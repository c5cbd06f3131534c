"""What is trained on a base."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it; it tells of a kernel that it does without
