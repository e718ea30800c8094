"""Run folders: everything that knows what lies in one."""
