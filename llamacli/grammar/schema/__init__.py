"""JSON schemas: conversion to grammars, what a grammar does not enforce, inference from examples."""
