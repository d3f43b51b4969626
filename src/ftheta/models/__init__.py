"""Models: architecture + parameters + processor + task."""
