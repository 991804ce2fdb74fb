"""The protocol between parent and child: frames, values, exceptions, and declarations of methods."""
