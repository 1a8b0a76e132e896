"""graft: transfer learning that says whether it helped, and how sure that is."""

__version__ = "0.1.0"
